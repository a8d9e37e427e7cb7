/* Transformer encoder (BERT, XLM-RoBERTa, ModernBERT) in int8 or bfloat16, on AVX-512.
 *
 * Sequences are packed: their rows follow each other, so there is no padding. A call uses one thread, or shares the
 * rows of a lone sequence among several; the weights are shared by all callers. Matrix products use tiles of 16 rows of
 * 64 bytes. Their left operand ("rows") is stored as [row / 16][byte / 64][row % 16][64], the right one ("panels" of 32
 * columns) as [column / 32][byte / 64][2][16][64], where a tile holds groups of four bytes of 16 columns, so every tile
 * is 1,024 consecutive bytes. They are computed by
 * the matrix units of AMX (products_amx.h) or by AVX-512 (products_avx512.h), as the compiler is told.
 *
 * What families do differently is data: the flags of a shape, and pointers that are NULL. A layer ends with the
 * normalization that its successor reads. It replaces the state (BERT), or the state goes on without it (pre_norm). So
 * a normalization before attention belongs to the layer before, and the last layer's is the final one.
 *
 * A cross-encoder's head reads the first row of each sequence; a late-interaction model encodes both texts of a pair
 * separately, but in its last layers if it has joint ones, and compares them row by row.
 *
 * int8: weights have one scale per output column; activations have a scale and a least number per row, found when they
 * are quantized, so no row depends on another one. Attention is computed in bfloat16 in both cases, sums, softmax and
 * normalization in float32.
 */
#define _GNU_SOURCE
#include <immintrin.h>
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

/* With PROFILE, one thread counts the ticks of each part; see benchmarks/profile.py. */
enum { EMBEDDING, PRODUCTS, GELU_PRODUCTS, ATTENTION, SOFTMAX, QUANTIZATION, NORMALIZATION, COMPARISON, PARTS };
#ifdef PROFILE
#include <x86intrin.h>
API uint64_t rerankd_ticks[PARTS];
static uint64_t last_tick;
#define LAP(part) do { uint64_t now = __rdtsc(); rerankd_ticks[part] += now - last_tick; last_tick = now; } while (0)
#define START_CLOCK() (last_tick = __rdtsc())
API uint64_t rerankd_ticks_now(void) { return __rdtsc(); }
#else
#define LAP(part) ((void)0)
#define START_CLOCK() ((void)0)
#endif
#define INLINE static inline __attribute__((always_inline))
#define TILE 1024  /* bytes */
#define COLUMNS 32 /* of a block that is computed at a time; its rows depend on the instructions */
#ifdef __AMX_TILE__
#define ROWS 32
#else
#define ROWS 8
#endif
#define UP(x, n) (((x) + (n)-1) / (n) * (n))

typedef uint16_t bf16;

typedef struct {
    int32_t hidden, inner, heads, layers;
    int32_t int8;  /* 1: int8 products; 0: bfloat16 */
    int32_t block; /* rows of which the feed-forward part is computed at a time, a multiple of 32 */
    int32_t pre_norm; /* 1: blocks read normalized states, sums go on as they are */
    int32_t gated;    /* 1: columns of `up` are 16 inputs of GELU, then the 16 that their results are multiplied with */
    int32_t mean;     /* 1: the head reads the mean of all rows of a sequence; 0: the first row */
    float eps;
} Shape;

typedef struct { /* one linear layer */
    const uint8_t *panels;
    const float *scale, *sum; /* int8: scale of each column, and sum of its integers */
    const float *bias;
} Linear;

typedef struct {
    Linear projection, output, up, down; /* columns of projection: query, key, value */
    const float *attention_norm, *norm;  /* after attention, and after the layer: weight, then bias */
    const float *rotary; /* of each position: cosines, then sines of half a head's width; NULL for none */
    int64_t window;      /* rows to each side that a row attends to; 0 for all */
} Layer;

typedef struct {
    const bf16 *words;                 /* (vocabulary, hidden) */
    const float *positions, *segments; /* (.., hidden), or NULL */
    const float *norm;                 /* weight, then bias */
} Embeddings;

typedef struct { /* head of a late-interaction model; float32 */
    const float *meaning, *piece; /* weight of a token of the query by its state and by its embedding: (hidden), bias */
    const float *mix;             /* of the cosine of both sums of states, similar tokens, equal tokens; bias */
    const float *cross_bias;      /* (joint layers, heads), times the logarithm of e to base 2 */
    /* on both first states, with joint layers only */
    const float *joint_dense, *joint_dense_bias, *joint_out, *joint_out_bias;
    int32_t joint;                /* last layers in which the two texts attend to each other */
    int32_t prefix, end;          /* tokens between the first one and the query; id of the token that ends a text */
} Comparison;

enum { TANH, GELU, RELU };

typedef struct { /* dense layer, activation, normalization, linear layer; float32 */
    const float *dense, *dense_bias; /* (hidden, hidden), (hidden) */
    const float *norm;               /* weight, then bias; NULL for none */
    const float *out, *out_bias;     /* (hidden), (1) */
    int32_t activation;
    float eps;
} Head;

/* ------------------------------------------------------------------------------------------------ small parts */

INLINE __m512 load_bf16(const bf16 *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}

#ifdef __AVX512BF16__
INLINE __m256i one_bf16(__m512 v) { return (__m256i)_mm512_cvtneps_pbh(v); }

INLINE __m512i two_bf16(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
#else
/* The nearest bfloat16, ties to even, in the lower halves; for finite numbers. */
INLINE __m512i round_to_bf16(__m512 v) {
    __m512i bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
}

INLINE __m256i one_bf16(__m512 v) { return _mm512_cvtepi32_epi16(round_to_bf16(v)); }

INLINE __m512i two_bf16(__m512 low, __m512 high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(one_bf16(low)), one_bf16(high), 1);
}
#endif

/* 2^x for x <= 0, relative error 4e-6 */
INLINE __m512 exp2_negative(__m512 x) {
    x = _mm512_max_ps(x, _mm512_set1_ps(-126.0f));
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 f = _mm512_sub_ps(x, whole);
    __m512 y = _mm512_set1_ps(9.6180980e-3f);
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(5.5480747e-2f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(2.4022651e-1f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(6.9314718e-1f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(y, whole);
}

/* x * normal distribution function of x: cubic pieces of width 1/4 from 0 to 4, whose coefficients are below */
static float gelu_table[4][16] __attribute__((aligned(64)));

static void fill_gelu_table(void) {
    for (int i = 0; i < 16; i++) {
        /* the cubic through four Chebyshev points of the piece, in t from 0 to 1 */
        double t[4], y[4], c[4] = {0, 0, 0, 0};
        for (int j = 0; j < 4; j++) {
            t[j] = 0.5 - 0.5 * cos(M_PI * (j + 0.5) / 4);
            y[j] = 0.5 * erf((i + t[j]) * 0.25 / sqrt(2.0));
        }
        for (int j = 0; j < 4; j++) { /* Lagrange */
            double p[4] = {1, 0, 0, 0}, denominator = 1;
            int degree = 0;
            for (int k = 0; k < 4; k++) {
                if (k == j) continue;
                for (int d = degree + 1; d > 0; d--) p[d] = p[d - 1] - t[k] * p[d];
                p[0] *= -t[k];
                degree++;
                denominator *= t[j] - t[k];
            }
            for (int d = 0; d < 4; d++) c[d] += y[j] * p[d] / denominator;
        }
        for (int d = 0; d < 4; d++) gelu_table[d][i] = (float)c[d];
    }
}

typedef struct { __m512 c0, c1, c2, c3; } Gelu;

INLINE Gelu gelu_coefficients(void) {
    Gelu g = {_mm512_load_ps(gelu_table[0]), _mm512_load_ps(gelu_table[1]), _mm512_load_ps(gelu_table[2]),
              _mm512_load_ps(gelu_table[3])};
    return g;
}

INLINE __m512 gelu(__m512 x, const Gelu *g) {
    __m512 a = _mm512_min_ps(_mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(4.0f)), _mm512_set1_ps(15.9999f));
    __m512i piece = _mm512_cvttps_epi32(a);
    __m512 t = _mm512_sub_ps(a, _mm512_cvtepi32_ps(piece));
    __m512 y = _mm512_permutexvar_ps(piece, g->c3);
    y = _mm512_fmadd_ps(y, t, _mm512_permutexvar_ps(piece, g->c2));
    y = _mm512_fmadd_ps(y, t, _mm512_permutexvar_ps(piece, g->c1));
    y = _mm512_fmadd_ps(y, t, _mm512_permutexvar_ps(piece, g->c0)); /* of |x|: the function less 1/2 */
    return _mm512_fmadd_ps(_mm512_abs_ps(x), y, _mm512_mul_ps(x, _mm512_set1_ps(0.5f)));
}

/* Address of 64 bytes of a row of the left operand. */
INLINE uint8_t *cell(uint8_t *rows, long steps, long row, long step) {
    return rows + ((row >> 4) * steps + step) * TILE + (row & 15) * 64;
}

/* ------------------------------------------------------------------------------------------------ products */

enum { TO_BF16, ADD, GELU_ROWS, GELU_BF16, GATED_ROWS, GATED_BF16 };
#define WITH_GELU(kind) ((kind) >= GELU_ROWS)

typedef struct {
    const float *row_scale, *row_low;                 /* int8 */
    const float *column_scale, *column_sum, *bias;
    bf16 *out;      /* TO_BF16, .._BF16: (rows, stride) */
    uint8_t *cells; /* .._ROWS: left operand of the next product, bfloat16 */
    float *sum;     /* ADD: (rows, stride) */
    float *least, *most; /* GELU_BF16, GATED_BF16: 16 partial minima and maxima of each row */
    long stride;    /* of out and sum in elements, or of cells in steps */
} Target;

INLINE void finish(const int32_t *acc, long row, long column, int kind, int int8, const Target *t, const Gelu *g) {
    __m512 bias0 = _mm512_loadu_ps(t->bias + column), bias1 = _mm512_loadu_ps(t->bias + column + 16);
    __m512 scale0 = bias0, scale1 = bias1, sum0 = bias0, sum1 = bias1;
    if (int8) {
        sum0 = _mm512_loadu_ps(t->column_sum + column);
        sum1 = _mm512_loadu_ps(t->column_sum + column + 16);
        scale0 = _mm512_loadu_ps(t->column_scale + column);
        scale1 = _mm512_loadu_ps(t->column_scale + column + 16);
    }
    for (int r = 0; r < ROWS; r++) {
        __m512 v0, v1;
        if (int8) {
            __m512 row_scale = _mm512_set1_ps(t->row_scale[row + r]), low = _mm512_set1_ps(t->row_low[row + r]);
            v0 = _mm512_cvtepi32_ps(_mm512_load_si512(acc + r * COLUMNS));
            v1 = _mm512_cvtepi32_ps(_mm512_load_si512(acc + r * COLUMNS + 16));
            v0 = _mm512_fmadd_ps(_mm512_fmadd_ps(v0, row_scale, _mm512_mul_ps(low, sum0)), scale0, bias0);
            v1 = _mm512_fmadd_ps(_mm512_fmadd_ps(v1, row_scale, _mm512_mul_ps(low, sum1)), scale1, bias1);
        } else {
            v0 = _mm512_add_ps(_mm512_load_ps((const float *)acc + r * COLUMNS), bias0);
            v1 = _mm512_add_ps(_mm512_load_ps((const float *)acc + r * COLUMNS + 16), bias1);
        }
        if (kind == ADD) {
            float *s = t->sum + (row + r) * t->stride + column;
            _mm512_storeu_ps(s, _mm512_add_ps(_mm512_loadu_ps(s), v0));
            _mm512_storeu_ps(s + 16, _mm512_add_ps(_mm512_loadu_ps(s + 16), v1));
        } else if (kind == TO_BF16) {
            _mm512_storeu_si512(t->out + (row + r) * t->stride + column, two_bf16(v0, v1));
        } else if (kind == GATED_ROWS || kind == GATED_BF16) {
            const long half = column >> 1; /* of the result, which has 16 columns */
            v0 = _mm512_mul_ps(gelu(v0, g), v1);
            if (kind == GATED_ROWS) {
                uint8_t *to = cell(t->cells, t->stride, row + r, half >> 5) + (half & 31) * 2;
                _mm256_store_si256((__m256i *)to, one_bf16(v0));
            } else {
                float *least = t->least + (row + r) * 16, *most = t->most + (row + r) * 16;
                _mm512_store_ps(least, _mm512_min_ps(_mm512_load_ps(least), v0));
                _mm512_store_ps(most, _mm512_max_ps(_mm512_load_ps(most), v0));
                _mm256_storeu_si256((__m256i *)(t->out + (row + r) * t->stride + half), one_bf16(v0));
            }
        } else {
            v0 = gelu(v0, g);
            v1 = gelu(v1, g);
            if (kind == GELU_ROWS) {
                _mm512_store_si512(cell(t->cells, t->stride, row + r, column >> 5), two_bf16(v0, v1));
            } else {
                float *least = t->least + (row + r) * 16, *most = t->most + (row + r) * 16;
                _mm512_store_ps(least, _mm512_min_ps(_mm512_load_ps(least), _mm512_min_ps(v0, v1)));
                _mm512_store_ps(most, _mm512_max_ps(_mm512_load_ps(most), _mm512_max_ps(v0, v1)));
                _mm512_storeu_si512(t->out + (row + r) * t->stride + column, two_bf16(v0, v1));
            }
        }
    }
}

/* What follows is defined twice, for the matrix units and without them: configure, release, product, score_rows,
 * weigh_values and request_registers. */
#ifdef __AMX_TILE__
#include "products_amx.h"
#else
#include "products_avx512.h"
#endif

#define PRODUCT(NAME, KIND)                                                                                         \
    static __attribute__((noinline)) void NAME(const uint8_t *rows, long m, const Linear *l, long from, long to,   \
                                               long steps, int int8, Target *t) {                                   \
        t->column_scale = l->scale;                                                                                 \
        t->column_sum = l->sum;                                                                                     \
        t->bias = l->bias;                                                                                          \
        if (int8) product(rows, m, l->panels, from, to, steps, KIND, 1, t);                                         \
        else product(rows, m, l->panels, from, to, steps, KIND, 0, t);                                              \
    }
PRODUCT(product_to_bf16, TO_BF16)
PRODUCT(product_add, ADD)
PRODUCT(product_gelu_rows, GELU_ROWS)
PRODUCT(product_gelu_bf16, GELU_BF16)
PRODUCT(product_gated_rows, GATED_ROWS)
PRODUCT(product_gated_bf16, GATED_BF16)

/* ------------------------------------------------------------------------------------------------ rows */

/* int8 activations are integers from 0 to 255, the number is low + scale * integer. */
typedef struct { float *scale, *low; } Ranges;

INLINE __m512 set_range(Ranges ranges, long row, float least, float most) {
    float scale = fmaxf(most - least, 1e-12f) / 255.0f;
    ranges.scale[row] = scale;
    ranges.low[row] = least;
    return _mm512_set1_ps(1.0f / scale);
}

INLINE __m128i quantized(__m512 v, __m512 low, __m512 by) {
    __m512 from_zero = _mm512_max_ps(_mm512_mul_ps(_mm512_sub_ps(v, low), by), _mm512_setzero_ps());
    return _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(from_zero));
}

/* Store a row of float32 as the left operand. */
INLINE void store_row(const float *v, long size, int int8, uint8_t *rows, Ranges ranges, long row, float least,
                      float most) {
    if (int8) {
        __m512 by = set_range(ranges, row, least, most), low = _mm512_set1_ps(least);
        for (long c = 0; c < size; c += 64)
            for (long i = 0; i < 64; i += 16)
                _mm_store_si128((__m128i *)(cell(rows, size >> 6, row, c >> 6) + i),
                                quantized(_mm512_loadu_ps(v + c + i), low, by));
    } else {
        for (long c = 0; c < size; c += 32)
            _mm512_store_si512(cell(rows, size >> 5, row, c >> 5),
                               two_bf16(_mm512_loadu_ps(v + c), _mm512_loadu_ps(v + c + 16)));
    }
}

/* Store rows of bfloat16 as the left operand; least, most: 16 partial minima and maxima of each row, or NULL. */
static void store_rows(const bf16 *v, long m, long size, int int8, uint8_t *rows, Ranges ranges, const float *least,
                       const float *most) {
    for (long r = 0; r < m; r++, v += size) {
        if (!int8) {
            for (long c = 0; c < size; c += 32)
                _mm512_store_si512(cell(rows, size >> 5, r, c >> 5), _mm512_loadu_si512(v + c));
            continue;
        }
        __m512 lows = load_bf16(v), highs = lows;
        if (least) {
            lows = _mm512_load_ps(least + r * 16);
            highs = _mm512_load_ps(most + r * 16);
        } else {
            for (long c = 16; c < size; c += 16) {
                lows = _mm512_min_ps(lows, load_bf16(v + c));
                highs = _mm512_max_ps(highs, load_bf16(v + c));
            }
        }
        const float lowest = _mm512_reduce_min_ps(lows);
        __m512 by = set_range(ranges, r, lowest, _mm512_reduce_max_ps(highs)), low = _mm512_set1_ps(lowest);
        for (long c = 0; c < size; c += 64)
            for (long i = 0; i < 64; i += 16)
                _mm_store_si128((__m128i *)(cell(rows, size >> 6, r, c >> 6) + i),
                                quantized(load_bf16(v + c + i), low, by));
    }
}

/* Normalize a row into `to`, which may be the same; return its least and largest number. */
INLINE void normalize(const float *v, long size, const float *norm, float eps, float *to, float *least, float *most) {
    __m512 sum = _mm512_setzero_ps(), squares = sum;
    __m512 lows = _mm512_set1_ps(INFINITY), highs = _mm512_set1_ps(-INFINITY);
    for (long c = 0; c < size; c += 16) sum = _mm512_add_ps(sum, _mm512_loadu_ps(v + c));
    __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / size);
    for (long c = 0; c < size; c += 16) {
        __m512 d = _mm512_sub_ps(_mm512_loadu_ps(v + c), mean);
        squares = _mm512_fmadd_ps(d, d, squares);
    }
    __m512 by = _mm512_set1_ps(1.0f / sqrtf(_mm512_reduce_add_ps(squares) / size + eps));
    for (long c = 0; c < size; c += 16) {
        __m512 d = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(v + c), mean), by);
        d = _mm512_fmadd_ps(d, _mm512_loadu_ps(norm + c), _mm512_loadu_ps(norm + size + c));
        lows = _mm512_min_ps(lows, d);
        highs = _mm512_max_ps(highs, d);
        _mm512_storeu_ps(to + c, d);
    }
    *least = _mm512_reduce_min_ps(lows);
    *most = _mm512_reduce_max_ps(highs);
}

/* Normalize rows as the left operand of the next product; into `one`, a row, or in place where that is NULL. */
static void normalize_rows(float *hidden, long m, long size, const float *norm, float eps, int int8, uint8_t *rows,
                           Ranges ranges, float *one) {
    for (long r = 0; r < m; r++) {
        float least, most, *to = one ? one : hidden + r * size;
        normalize(hidden + r * size, size, norm, eps, to, &least, &most);
        store_row(to, size, int8, rows, ranges, r, least, most);
    }
}

/* ------------------------------------------------------------------------------------------------ attention */

INLINE void transpose_16x16(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
}

/* Scratch memory of attention for a sequence of at most `longest` rows. */
typedef struct {
    uint8_t *keys, *values; /* right operands */
    float *scores;          /* (ROWS, longest) */
    bf16 *weights;          /* (ROWS, longest) */
} Scratch;

/* keys: tiles [row / 16][width / 32], the columns are rows of the sequence */
static void pack_keys(const bf16 *keys, long stride, long length, long width, uint8_t *to) {
    for (long n = 0; n < UP(length, 32); n += 16)
        for (long k = 0; k < width; k += 32, to += TILE) {
            __m512i r[16];
            for (int i = 0; i < 16; i++)
                r[i] = n + i < length ? _mm512_loadu_si512(keys + (n + i) * stride + k) : _mm512_setzero_si512();
            transpose_16x16(r);
            for (int i = 0; i < 16; i++) _mm512_store_si512(to + i * 64, r[i]);
        }
}

/* values: tiles [row / 32][width / 16], the columns are those of the head */
static void pack_values(const bf16 *values, long stride, long length, long width, uint8_t *to) {
    for (long k = 0; k < length; k += 32)
        for (long n = 0; n < width; n += 16, to += TILE)
            for (int i = 0; i < 16; i++) {
                const bf16 *p = values + (k + 2 * i) * stride + n;
                __m512i pair = _mm512_setzero_si512();
                if (k + 2 * i < length) pair = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
                if (k + 2 * i + 1 < length)
                    pair = _mm512_or_si512(pair, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(
                                                                       (const __m256i *)(p + stride))), 16));
                _mm512_store_si512(to + i * 64, pair);
            }
}

/* scores (base-2 logarithms) to unnormalized weights; return 1 / sum */
INLINE float softmax(const float *scores, long length, bf16 *weights) {
    long whole = length & ~31L;
    __mmask16 left0 = (__mmask16)(length - whole >= 16 ? 0xffff : (1u << (length - whole)) - 1);
    __mmask16 left1 = (__mmask16)(length - whole >= 16 ? (1u << (length - whole - 16)) - 1 : 0);
    __m512 low = _mm512_set1_ps(-INFINITY), most = low, most1 = low;
    for (long c = 0; c < whole; c += 32) {
        most = _mm512_max_ps(most, _mm512_load_ps(scores + c));
        most1 = _mm512_max_ps(most1, _mm512_load_ps(scores + c + 16));
    }
    if (whole < length) {
        most = _mm512_max_ps(most, _mm512_mask_loadu_ps(low, left0, scores + whole));
        most1 = _mm512_max_ps(most1, _mm512_mask_loadu_ps(low, left1, scores + whole + 16));
    }
    __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(_mm512_max_ps(most, most1)));
    __m512 sum = _mm512_setzero_ps(), sum1 = sum;
    for (long c = 0; c < whole; c += 32) {
        __m512 a = exp2_negative(_mm512_sub_ps(_mm512_load_ps(scores + c), top));
        __m512 b = exp2_negative(_mm512_sub_ps(_mm512_load_ps(scores + c + 16), top));
        sum = _mm512_add_ps(sum, a);
        sum1 = _mm512_add_ps(sum1, b);
        _mm512_store_si512(weights + c, two_bf16(a, b));
    }
    if (whole < length) {
        __m512 a = _mm512_maskz_mov_ps(left0, exp2_negative(_mm512_sub_ps(_mm512_load_ps(scores + whole), top)));
        __m512 b = _mm512_maskz_mov_ps(left1, exp2_negative(_mm512_sub_ps(_mm512_load_ps(scores + whole + 16), top)));
        sum = _mm512_add_ps(sum, a);
        sum1 = _mm512_add_ps(sum1, b);
        _mm512_store_si512(weights + whole, two_bf16(a, b));
    }
    return 1.0f / _mm512_reduce_add_ps(_mm512_add_ps(sum, sum1));
}

INLINE void add_to(float *scores, long from, long to, float number) {
    for (long c = from; c < to; c += 16) {
        __mmask16 mask = (__mmask16)(to - c >= 16 ? 0xffff : (1u << (to - c)) - 1);
        __m512 sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, scores + c), _mm512_set1_ps(number));
        _mm512_mask_storeu_ps(scores + c, mask, sum);
    }
}

/* Scores that a row does not see: their weight is 2^-126. */
INLINE void hide(float *scores, long from, long to) {
    for (long c = from; c < to; c += 16)
        _mm512_mask_storeu_ps(scores + c, (__mmask16)(to - c >= 16 ? 0xffff : (1u << (to - c)) - 1),
                              _mm512_set1_ps(-INFINITY));
}

/* Rotate the first `count` numbers of rows of projections, heads of `width`, by the rows' positions. */
static void rotate(bf16 *rows, long stride, long m, long count, long width, const float *table,
                   const int32_t *positions) {
    const long half = width / 2;
    for (long r = 0; r < m; r++, rows += stride) {
        const float *cosines = table + positions[r] * width, *sines = cosines + half;
        for (bf16 *v = rows; v < rows + count; v += width)
            for (long c = 0; c < half; c += 16) {
                __m512 a = load_bf16(v + c), b = load_bf16(v + half + c);
                __m512 cosine = _mm512_loadu_ps(cosines + c), sine = _mm512_loadu_ps(sines + c);
                __m512 first = _mm512_fmsub_ps(a, cosine, _mm512_mul_ps(b, sine));
                __m512 second = _mm512_fmadd_ps(b, cosine, _mm512_mul_ps(a, sine));
                _mm256_storeu_si256((__m256i *)(v + c), one_bf16(first));
                _mm256_storeu_si256((__m256i *)(v + half + c), one_bf16(second));
            }
    }
}

/* One head of one sequence: `count` rows of queries, `length` of keys and values; out: (count, out_stride).
 * across: added to the scores between rows before `split` and others; window: as in Layer, never with `across`;
 * first: row of the sequence that the first query is, a multiple of ROWS. */
static void attend(const bf16 *queries, long query_stride, long count, const bf16 *keys, const bf16 *values,
                   long stride, long length, long width, bf16 *out, long out_stride, const Scratch *s, float across,
                   long split, long window, long first) {
    const long depth = width / 32;
    float part[ROWS * COLUMNS] __attribute__((aligned(64))), inverse[ROWS];
    pack_keys(keys, stride, length, width, s->keys);
    pack_values(values, stride, length, width, s->values);
    for (long row = 0; row < count; row += ROWS) {
        const long rows = count - row < ROWS ? count - row : ROWS;
        const bf16 *q = queries + row * query_stride;
        const long at = first + row;
        /* the keys that some of the rows see, from a whole tile on */
        const long low = window && at > window ? (at - window) & ~31L : 0;
        const long high = window && at + rows + window < length ? at + rows + window : length;
        const long seen = high - low, padded = UP(seen, 32);
        score_rows(q, query_stride, rows, s->keys + low / 16 * depth * TILE, padded, depth, s->scores);
        for (long r = 0; r < rows && across != 0.0f; r++)
            add_to(s->scores + r * padded, at + r < split ? split : 0, at + r < split ? length : split, across);
        for (long r = 0; r < rows && window; r++) {
            if (at + r - window > low) hide(s->scores + r * padded, 0, at + r - window - low);
            if (at + r + window + 1 < high) hide(s->scores + r * padded, at + r + window + 1 - low, seen);
        }
        LAP(ATTENTION);
        for (long r = 0; r < rows; r++) inverse[r] = softmax(s->scores + r * padded, seen, s->weights + r * padded);
        LAP(SOFTMAX);
        const uint8_t *values_seen = s->values + low / 32 * (width / 16) * TILE;
        for (long n = 0; n < width; n += 32) {
            weigh_values(s->weights, padded, rows, values_seen + n / 16 * TILE, width, part);
            for (long r = 0; r < rows; r++) {
                __m512 by = _mm512_set1_ps(inverse[r]);
                __m512 a = _mm512_mul_ps(_mm512_load_ps(part + r * COLUMNS), by);
                __m512 b = _mm512_mul_ps(_mm512_load_ps(part + r * COLUMNS + 16), by);
                _mm512_storeu_si512(out + (row + r) * out_stride + n, two_bf16(a, b));
            }
        }
    }
}

/* ------------------------------------------------------------------------------------------------ encoder */

typedef struct { uint8_t *at; size_t size; } Arena;

static void *take(Arena *arena, size_t bytes) {
    void *p = arena->at ? arena->at + arena->size : NULL;
    arena->size += UP(bytes, 4096) + 64; /* no two buffers start in the same set of the cache */
    arena->size = UP(arena->size, 64);
    return p;
}

/* Threads that compute one call together. */
typedef struct { int threads; _Atomic int arrived, round; } Team;

/* Wait until all threads of the team are here: busily for some microseconds, then asleep; cores may be shared. */
static void meet(Team *team) {
    if (team->threads == 1) return;
    const int round = atomic_load(&team->round);
    if (atomic_fetch_add(&team->arrived, 1) + 1 == team->threads) {
        atomic_store(&team->arrived, 0);
        atomic_store(&team->round, round + 1);
        syscall(SYS_futex, &team->round, FUTEX_WAKE_PRIVATE, team->threads, NULL, NULL, 0);
        return;
    }
    for (int turn = 0; turn < 1000; turn++) {
        if (atomic_load(&team->round) != round) return;
        _mm_pause();
    }
    while (atomic_load(&team->round) == round)
        syscall(SYS_futex, &team->round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
}

typedef struct {
    Team *team;
    long from, to; /* rows of this thread: all, or a share that begins with a tile */
    /* shared by the threads but for what follows `context` */
    float *hidden, *one, *least, *most;
    const int32_t *positions;
    Ranges ranges, inner_ranges;
    uint8_t *rows, *inner_rows;
    bf16 *projected, *others, *context, *inner; /* others: projections of the layer before, in a team */
    Scratch scratch;
} Buffers;

/* Memory of each thread; return that of `index`. */
static void *take_own(Arena *arena, size_t bytes, long threads, long index) {
    void *own = NULL;
    for (long t = 0; t < threads; t++) {
        void *p = take(arena, bytes);
        if (t == index) own = p;
    }
    return own;
}

static size_t lay_out(const Shape *s, long m, long longest, long threads, long index, uint8_t *memory, Buffers *b) {
    Arena arena = {memory, 0};
    const long padded = UP(m, 32) + 32, bytes = s->int8 ? 1 : 2, long_rows = UP(longest, 32);
    b->hidden = take(&arena, padded * s->hidden * 4);
    b->rows = take(&arena, padded * s->hidden * bytes);
    b->ranges.scale = take(&arena, padded * 4);
    b->ranges.low = take(&arena, padded * 4);
    b->projected = take(&arena, padded * s->hidden * 3 * 2);
    b->others = threads > 1 ? take(&arena, padded * s->hidden * 3 * 2) : b->projected;
    b->context = take(&arena, padded * s->hidden * 2);
    b->one = take_own(&arena, s->hidden * 4, threads, index);
    b->inner = take_own(&arena, s->int8 ? (long)s->block * s->inner * 2 : 0, threads, index);
    b->inner_rows = take_own(&arena, (long)s->block * s->inner * bytes, threads, index);
    b->inner_ranges.scale = take_own(&arena, s->block * 4, threads, index);
    b->inner_ranges.low = take_own(&arena, s->block * 4, threads, index);
    b->least = take_own(&arena, s->block * 64, threads, index);
    b->most = take_own(&arena, s->block * 64, threads, index);
    b->scratch.keys = take_own(&arena, long_rows * s->hidden / s->heads * 2, threads, index);
    b->scratch.values = take_own(&arena, long_rows * s->hidden / s->heads * 2, threads, index);
    b->scratch.scores = take_own(&arena, ROWS * long_rows * 4, threads, index);
    b->scratch.weights = take_own(&arena, ROWS * long_rows * 2, threads, index);
    return arena.size;
}

/* Everything after attention, for some rows (from a tile on, a multiple of ROWS). The last layer's state is replaced by
 * its normalization in any case. */
static void finish_layer(const Shape *s, const Layer *l, long from, long to, int last, Buffers *b) {
    const long steps = s->int8 ? s->hidden / 64 : s->hidden / 32, inner_steps = s->int8 ? s->inner / 64 : s->inner / 32;
    const long bytes = s->int8 ? 1 : 2, m = to - from;
    float *hidden = b->hidden + from * s->hidden;
    uint8_t *all = b->rows + from * s->hidden * bytes;
    const Ranges ranges = {b->ranges.scale + from, b->ranges.low + from};
    store_rows(b->context + from * s->hidden, m, s->hidden, s->int8, all, ranges, NULL, NULL);
    LAP(QUANTIZATION);
    Target t = {.row_scale = ranges.scale, .row_low = ranges.low, .sum = hidden, .stride = s->hidden};
    product_add(all, m, &l->output, 0, s->hidden, steps, s->int8, &t);
    LAP(PRODUCTS);
    normalize_rows(hidden, m, s->hidden, l->attention_norm, s->eps, s->int8, all, ranges,
                   s->pre_norm ? b->one : NULL);
    LAP(NORMALIZATION);
    for (long row = 0; row < m; row += s->block) {
        const long count = m - row < s->block ? m - row : s->block;
        const uint8_t *rows = all + row * s->hidden * bytes;
        Target up = {.row_scale = ranges.scale + row, .row_low = ranges.low + row, .least = b->least, .most = b->most};
        if (s->int8) {
            up.out = b->inner;
            up.stride = s->inner;
            memset(b->least, 0, count * 64); /* GELU is negative somewhere in a row, and positive somewhere else */
            memset(b->most, 0, count * 64);
            if (s->gated) product_gated_bf16(rows, count, &l->up, 0, 2 * s->inner, steps, 1, &up);
            else product_gelu_bf16(rows, count, &l->up, 0, s->inner, steps, 1, &up);
            LAP(GELU_PRODUCTS);
            store_rows(b->inner, count, s->inner, 1, b->inner_rows, b->inner_ranges, b->least, b->most);
            LAP(QUANTIZATION);
        } else {
            up.cells = b->inner_rows;
            up.stride = inner_steps;
            if (s->gated) product_gated_rows(rows, count, &l->up, 0, 2 * s->inner, steps, 0, &up);
            else product_gelu_rows(rows, count, &l->up, 0, s->inner, steps, 0, &up);
            LAP(GELU_PRODUCTS);
        }
        Target down = {.row_scale = b->inner_ranges.scale, .row_low = b->inner_ranges.low,
                       .sum = hidden + row * s->hidden, .stride = s->hidden};
        product_add(b->inner_rows, count, &l->down, 0, s->hidden, inner_steps, s->int8, &down);
        LAP(PRODUCTS);
    }
    normalize_rows(hidden, m, s->hidden, l->norm, s->eps, s->int8, all, ranges,
                   s->pre_norm && !last ? b->one : NULL);
    LAP(NORMALIZATION);
}

/* Columns from..to of the projections, query, key and value, of this thread's rows; wait for the others'. Some threads
 * may still read those of the layer before, so there are two buffers. */
static void project(const Shape *s, const Layer *l, long from, long to, long total, Buffers *b) {
    const long h = s->hidden, width = h / s->heads, steps = s->int8 ? h / 64 : h / 32, stride = 3 * h;
    bf16 *before = b->projected, *projected = b->others + b->from * stride;
    b->projected = b->others;
    b->others = before;
    Target t = {.row_scale = b->ranges.scale + b->from, .row_low = b->ranges.low + b->from, .out = projected,
                .stride = stride};
    const long bytes = s->int8 ? 1 : 2, last = b->to < total ? b->to : total;
    product_to_bf16(b->rows + b->from * h * bytes, b->to - b->from, &l->projection, from, to, steps, s->int8, &t);
    LAP(PRODUCTS);
    if (l->rotary && last > b->from)
        rotate(projected + from, stride, last - b->from, 2 * h - from, width, l->rotary, b->positions + b->from);
    meet(b->team);
}

/* A layer for all rows; across: biases of the heads between the rows before and after `splits` of each sequence. */
static void run_whole_layer(const Shape *s, const Layer *l, const int32_t *starts, long count, const float *across,
                            const int32_t *splits, int last, Buffers *b) {
    const long h = s->hidden, width = h / s->heads, stride = 3 * h;
    project(s, l, 0, 3 * h, starts[count], b);
    for (long i = 0; i < count; i++) {
        const long begin = starts[i] > b->from ? starts[i] : b->from;
        const long end = starts[i + 1] < b->to ? starts[i + 1] : b->to;
        for (long head = 0; head < s->heads && begin < end; head++) {
            const bf16 *q = b->projected + begin * stride + head * width;
            const bf16 *k = b->projected + starts[i] * stride + h + head * width;
            attend(q, stride, end - begin, k, k + h, stride, starts[i + 1] - starts[i], width,
                   b->context + begin * h + head * width, h, &b->scratch, across ? across[head] : 0.0f,
                   across ? splits[i] : 0, l->window, begin - starts[i]);
        }
    }
    LAP(ATTENTION);
    finish_layer(s, l, b->from, b->to, last, b);
}

/* The last layer of a cross-encoder, whose head reads the first row of each sequence: keys and values of all rows,
 * everything else of those, which are at position 0: their queries need no rotation. */
static void run_last_layer(const Shape *s, const Layer *l, const int32_t *starts, long count, Buffers *b) {
    const long h = s->hidden, width = h / s->heads, steps = s->int8 ? h / 64 : h / 32, stride = 3 * h;
    project(s, l, h, 3 * h, starts[count], b);
    if (b->from) return; /* what is left is little */
    const long kept = UP(count, ROWS);
    for (long i = 0; i < count; i++) {
        memmove(b->hidden + i * h, b->hidden + starts[i] * h, h * 4);
        for (long step = 0; step < steps; step++)
            memmove(cell(b->rows, steps, i, step), cell(b->rows, steps, starts[i], step), 64);
        b->ranges.scale[i] = b->ranges.scale[starts[i]];
        b->ranges.low[i] = b->ranges.low[starts[i]];
    }
    LAP(QUANTIZATION);
    Target t = {.row_scale = b->ranges.scale, .row_low = b->ranges.low, .out = b->projected, .stride = stride};
    product_to_bf16(b->rows, kept, &l->projection, 0, h, steps, s->int8, &t);
    LAP(PRODUCTS);
    for (long i = 0; i < count; i++)
        for (long head = 0; head < s->heads; head++) {
            const bf16 *k = b->projected + starts[i] * stride + h + head * width;
            attend(b->projected + i * stride + head * width, stride, 1, k, k + h, stride, starts[i + 1] - starts[i],
                   width, b->context + i * h + head * width, h, &b->scratch, 0.0f, 0, l->window, 0);
        }
    LAP(ATTENTION);
    finish_layer(s, l, 0, kept, 1, b);
}

/* ------------------------------------------------------------------------------------------------ interface */

/* Number of this interface; `library.py` loads no library with another one. */
API int rerankd_interface(void) { return 2; }

/* Fill the tables, and ask the system for the registers; 0, or an errno. */
API int rerankd_start(void) {
    fill_gelu_table();
    return request_registers();
}

/* Bytes of memory that a call needs, for `rows` rows in sequences of at most `longest`. */
API size_t rerankd_memory(const Shape *shape, int64_t rows, int64_t longest, int64_t threads) {
    Buffers b;
    return lay_out(shape, rows, longest, threads, 0, NULL, &b);
}

/* Sum of rows, in `to`. */
static float *sum_of(const float *states, long rows, long size, float *to) {
    memset(to, 0, size * 4);
    for (long r = 0; r < rows; r++)
        for (long c = 0; c < size; c += 16)
            _mm512_storeu_ps(to + c, _mm512_add_ps(_mm512_loadu_ps(to + c), _mm512_loadu_ps(states + r * size + c)));
    return to;
}

static float *mean_of(const float *states, long rows, long size, float *to) {
    sum_of(states, rows, size, to);
    for (long c = 0; c < size; c += 16)
        _mm512_storeu_ps(to + c, _mm512_div_ps(_mm512_loadu_ps(to + c), _mm512_set1_ps((float)rows)));
    return to;
}

/* Logit of a state; inner: memory of its size. */
static float logit(const Head *head, const float *state, long size, float *inner) {
    for (long o = 0; o < size; o++) {
        __m512 product = _mm512_setzero_ps();
        for (long c = 0; c < size; c += 16)
            product = _mm512_fmadd_ps(_mm512_loadu_ps(head->dense + o * size + c), _mm512_loadu_ps(state + c), product);
        const float x = _mm512_reduce_add_ps(product) + head->dense_bias[o];
        inner[o] = head->activation == TANH   ? tanhf(x)
                   : head->activation == GELU ? 0.5f * x * (1.0f + erff(x * (float)M_SQRT1_2))
                                              : fmaxf(x, 0.0f);
    }
    float least, most, sum = *head->out_bias;
    if (head->norm) normalize(inner, size, head->norm, head->eps, inner, &least, &most);
    for (long o = 0; o < size; o++) sum += head->out[o] * inner[o];
    return sum;
}

/* Sums of embeddings, normalized, as the rows of the first layer; of this thread's rows. */
static void embed(const Shape *s, const Embeddings *e, const int32_t *ids, const int32_t *positions,
                  const int32_t *segments, long total, Buffers *b) {
    const long h = s->hidden, m = b->to - b->from;
    for (long r = b->from; r < b->to; r++) {
        float *v = b->hidden + r * h;
        if (r >= total) {
            memset(v, 0, h * 4);
            continue;
        }
        const bf16 *word = e->words + (long)ids[r] * h;
        if (!e->positions) {
            for (long c = 0; c < h; c += 16) _mm512_store_ps(v + c, load_bf16(word + c));
            continue;
        }
        const float *position = e->positions + (long)positions[r] * h, *segment = e->segments + (long)segments[r] * h;
        for (long c = 0; c < h; c += 16)
            _mm512_store_ps(v + c, _mm512_add_ps(load_bf16(word + c), _mm512_add_ps(_mm512_loadu_ps(position + c),
                                                                                    _mm512_loadu_ps(segment + c))));
    }
    const Ranges ranges = {b->ranges.scale + b->from, b->ranges.low + b->from};
    normalize_rows(b->hidden + b->from * h, m, h, e->norm, s->eps, s->int8,
                   b->rows + b->from * h * (s->int8 ? 1 : 2), ranges, NULL);
    b->positions = positions;
    LAP(EMBEDDING);
}

typedef struct { /* what the threads of a call share */
    const Shape *shape;
    const Embeddings *embeddings;
    const Layer *layers;
    const Comparison *comparison; /* NULL for a cross-encoder */
    const int32_t *ids, *positions, *segments, *starts, *parts, *splits;
    long count, longest;
    uint8_t *memory;
    Team team;
    _Atomic int begun, ready; /* threads that have a number; 1 once their count is known */
} Call;

static long tiles_of(const Call *call) { return UP(call->starts[call->count], 16) / 16; }

/* Compute this thread's share of the states. */
static void encode(Call *call, long index, Buffers *b) {
    const Shape *s = call->shape;
    const long total = call->starts[call->count], tiles = tiles_of(call), m = UP(total, ROWS), n = call->team.threads;
    lay_out(s, total, call->longest, n, index, call->memory, b);
    b->team = &call->team;
    b->from = tiles * index / n * 16;
    b->to = index + 1 == n ? m : tiles * (index + 1) / n * 16;
    configure();
    embed(s, call->embeddings, call->ids, call->positions, call->segments, total, b);
    const long separate = call->comparison ? s->layers - call->comparison->joint : 0;
    for (long l = 0; l < s->layers; l++) {
        const Layer *layer = call->layers + l;
        const int last = l + 1 == s->layers;
        if (!call->comparison && last && !s->mean) run_last_layer(s, layer, call->starts, call->count, b);
        else if (!call->comparison) run_whole_layer(s, layer, call->starts, call->count, NULL, NULL, last, b);
        else if (l < separate) run_whole_layer(s, layer, call->parts, 2 * call->count, NULL, NULL, last, b);
        else run_whole_layer(s, layer, call->starts, call->count,
                             call->comparison->cross_bias + (l - separate) * s->heads, call->splits, last, b);
    }
    release();
    meet(b->team);
}

static void *join_team(void *argument) {
    Call *call = argument;
    const long index = 1 + atomic_fetch_add(&call->begun, 1);
    while (!atomic_load(&call->ready)) syscall(SYS_futex, &call->ready, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    Buffers b;
    encode(call, index, &b);
    return NULL;
}

enum { MOST_THREADS = 64 };

/* Compute all states in several threads, as many as the system gives, at most one for a tile; b: of the calling one. */
static void encode_together(Call *call, long threads, Buffers *b) {
    pthread_t others[MOST_THREADS];
    long started = 0;
    START_CLOCK();
    if (threads > tiles_of(call)) threads = tiles_of(call);
    while (started + 1 < threads && started < MOST_THREADS && !pthread_create(others + started, NULL, join_team, call))
        started++;
    call->team.threads = (int)started + 1;
    atomic_store(&call->ready, 1);
    if (started) syscall(SYS_futex, &call->ready, FUTEX_WAKE_PRIVATE, (int)started, NULL, NULL, 0);
    encode(call, 0, b);
    for (long t = 0; t < started; t++) pthread_join(others[t], NULL);
}

/* Write the logit of each sequence.
 * ids, positions, segments: of all rows; starts: (count + 1) offsets of the sequences; threads: at most 1 for several
 * sequences; memory: aligned to 64. */
API void rerankd_logits(const Shape *shape, const Embeddings *embeddings, const Layer *layers, const Head *head,
                        const int32_t *ids, const int32_t *positions, const int32_t *segments, const int32_t *starts,
                        int64_t count, int64_t longest, int64_t threads, void *memory, float *logits) {
    const long h = shape->hidden;
    Buffers b;
    Call call = {.shape = shape, .embeddings = embeddings, .layers = layers, .ids = ids, .positions = positions,
                 .segments = segments, .starts = starts, .count = count, .longest = longest, .memory = memory};
    encode_together(&call, threads, &b);
    for (long i = 0; i < count; i++) {
        const float *state = b.hidden + i * h;
        if (shape->mean) state = mean_of(b.hidden + starts[i] * h, starts[i + 1] - starts[i], h, (float *)b.context);
        logits[i] = logit(head, state, h, b.one);
    }
    LAP(COMPARISON);
}

/* ------------------------------------------------------------------------------------------------ late interaction */

INLINE float dot(const float *a, const float *b, long size) {
    __m512 sum = _mm512_setzero_ps();
    for (long c = 0; c < size; c += 16) sum = _mm512_fmadd_ps(_mm512_loadu_ps(a + c), _mm512_loadu_ps(b + c), sum);
    return _mm512_reduce_add_ps(sum);
}

INLINE float dot_bf16(const bf16 *a, const float *b, long size) {
    __m512 sum = _mm512_setzero_ps();
    for (long c = 0; c < size; c += 16) sum = _mm512_fmadd_ps(load_bf16(a + c), _mm512_loadu_ps(b + c), sum);
    return _mm512_reduce_add_ps(sum);
}

INLINE float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }

/* Logit of one pair of `length` rows: the document's side begins at `split`, its text at `text`. */
static float compare(const Comparison *c, const Embeddings *e, const int32_t *ids, const float *states, long length,
                     long split, long text, long h, float *inverse, float *sums) {
    const float *first = sum_of(states, split, h, sums);
    const float *second = sum_of(states + split * h, length - split, h, sums + h);
    const float norms = sqrtf(dot(first, first, h)) * sqrtf(dot(second, second, h));
    const float cosine = dot(first, second, h) / fmaxf(norms, 1e-12f);
    for (long j = text; j < length; j++) inverse[j] = 1.0f / sqrtf(dot(states + j * h, states + j * h, h));
    float similar = 0, equal = 0, meanings = 0, pieces = 0;
    for (long i = c->prefix + 1; i < split; i++) {
        if (ids[i] == c->end) continue;
        const float *state = states + i * h, by = 1.0f / sqrtf(dot(state, state, h));
        float best = -1.0f, same = 0.0f;
        for (long j = text; j < length; j++) {
            if (ids[j] == c->end) continue;
            best = fmaxf(best, dot(state, states + j * h, h) * by * inverse[j]);
            if (ids[j] == ids[i]) same = 1.0f;
        }
        const float meaning = softplus(dot(state, c->meaning, h) + c->meaning[h]);
        const float piece = softplus(dot_bf16(e->words + (long)ids[i] * h, c->piece, h) + c->piece[h]);
        similar += meaning * best;
        equal += piece * same;
        meanings += meaning;
        pieces += piece;
    }
    float sum = c->mix[0] * cosine + c->mix[1] * similar / fmaxf(meanings, 1e-6f) +
                c->mix[2] * equal / fmaxf(pieces, 1e-6f) + c->mix[3];
    if (!c->joint) return sum;
    sum += *c->joint_out_bias;
    for (long o = 0; o < h; o++) {
        const float *row = c->joint_dense + o * 2 * h;
        const float x = dot(row, states, h) + dot(row + h, states + split * h, h) + c->joint_dense_bias[o];
        sum += c->joint_out[o] * 0.5f * x * (1.0f + erff(x * (float)M_SQRT1_2));
    }
    return sum;
}

/* Write the logit of each pair, whose texts are encoded separately but in the joint layers.
 * starts: (count + 1) offsets of the pairs; parts: (2 count + 1) offsets of their sides; texts: (count) rows of each
 * pair before the document's text; splits: (count) rows of its query's side; the rest as for rerankd_logits. */
API void rerankd_compare(const Shape *shape, const Embeddings *embeddings, const Layer *layers, const Comparison *head,
                         const int32_t *ids, const int32_t *positions, const int32_t *segments, const int32_t *starts,
                         const int32_t *parts, const int32_t *splits, const int32_t *texts, int64_t count,
                         int64_t longest, int64_t threads, void *memory, float *logits) {
    const long h = shape->hidden;
    Buffers b;
    Call call = {.shape = shape, .embeddings = embeddings, .layers = layers, .comparison = head, .ids = ids,
                 .positions = positions, .segments = segments, .starts = starts, .parts = parts, .splits = splits,
                 .count = count, .longest = longest, .memory = memory};
    encode_together(&call, threads, &b);
    for (long i = 0; i < count; i++)
        logits[i] = compare(head, embeddings, ids + starts[i], b.hidden + starts[i] * h, starts[i + 1] - starts[i],
                            splits[i], texts[i], h, b.ranges.scale, (float *)b.context);
    LAP(COMPARISON);
}
