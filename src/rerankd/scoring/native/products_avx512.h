/* Products by AVX-512: blocks of 8 rows and 32 columns, whose sums stay in registers. Part of encoder.c.
 *
 * Four bytes of a row are multiplied with the groups of four bytes of 16 columns, which are the lines of the tiles. 8
 * rows keep the multipliers busy: 16 sums hide their latency, and a block loads 10 registers for 16 products. */

INLINE int request_registers(void) { return 0; }
INLINE void configure(void) {}
INLINE void release(void) {}

INLINE __m512i multiply_int8(__m512i sum, __m512i row, __m512i columns) {
    return _mm512_dpbusd_epi32(sum, row, columns);
}

#ifdef __AVX512BF16__
INLINE __m512i multiply_bf16(__m512i sum, __m512i row, __m512i columns) {
    return (__m512i)_mm512_dpbf16_ps((__m512)sum, (__m512bh)row, (__m512bh)columns);
}
#else
INLINE __m512 upper(__m512i pair) {
    return _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000)));
}

INLINE __m512 lower(__m512i pair) { return _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)); }

INLINE __m512i multiply_bf16(__m512i sum, __m512i row, __m512i columns) {
    __m512 v = _mm512_fmadd_ps(lower(row), lower(columns), _mm512_castsi512_ps(sum));
    return _mm512_castps_si512(_mm512_fmadd_ps(upper(row), upper(columns), v));
}
#endif

/* Where the operands and the result of a block lie: bytes from a row to the next and from a step of 64 bytes to the
 * next, of rows; from a step to the next, and between both halves, of columns; numbers between rows of the result. */
typedef struct { long row, step, column_step, half, out; } Strides;

/* out = 8 rows times 32 columns, steps of 64 bytes deep */
INLINE void multiply(const uint8_t *rows, const uint8_t *columns, long steps, int int8, Strides by, int32_t *out) {
    __m512i sums[ROWS][2];
    for (int r = 0; r < ROWS; r++) sums[r][0] = sums[r][1] = _mm512_setzero_si512();
    for (long s = 0; s < steps; s++, rows += by.step, columns += by.column_step) {
#pragma GCC unroll 16
        for (int group = 0; group < 16; group++) {
            __m512i left = _mm512_loadu_si512(columns + group * 64);
            __m512i right = _mm512_loadu_si512(columns + by.half + group * 64);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                int32_t four;
                memcpy(&four, rows + r * by.row + group * 4, 4);
                __m512i row = _mm512_set1_epi32(four);
                sums[r][0] = int8 ? multiply_int8(sums[r][0], row, left) : multiply_bf16(sums[r][0], row, left);
                sums[r][1] = int8 ? multiply_int8(sums[r][1], row, right) : multiply_bf16(sums[r][1], row, right);
            }
        }
    }
    for (int r = 0; r < ROWS; r++) {
        _mm512_store_si512(out + r * by.out, sums[r][0]);
        _mm512_store_si512(out + r * by.out + 16, sums[r][1]);
    }
}

/* rows (m, a multiple of ROWS) times columns from..to (multiples of 32), steps of 64 bytes deep */
INLINE void product(const uint8_t *rows, long m, const uint8_t *panels, long from, long to, long steps, int kind,
                    int int8, const Target *target) {
    int32_t sums[ROWS * COLUMNS] __attribute__((aligned(64)));
    const Strides by = {.row = 64, .step = TILE, .column_step = 2 * TILE, .half = TILE, .out = COLUMNS};
    Gelu g = {0};
    if (WITH_GELU(kind)) g = gelu_coefficients();
    for (long column = from; column < to; column += COLUMNS)
        for (long row = 0; row < m; row += ROWS) {
            multiply(rows + (row >> 4) * steps * TILE + (row & 15) * 64, panels + column / COLUMNS * steps * 2 * TILE,
                     steps, int8, by, sums);
            finish(sums, row, column, kind, int8, target, &g);
        }
}

/* Products of up to ROWS rows of queries with all keys; scores: (ROWS, padded). */
INLINE void score_rows(const bf16 *q, long query_stride, long rows, const uint8_t *keys, long padded, long depth,
                       float *scores) {
    (void)rows; /* the others are computed too, and read by nobody */
    const Strides by = {.row = query_stride * 2, .step = 64, .column_step = TILE, .half = depth * TILE, .out = padded};
    for (long column = 0; column < padded; column += COLUMNS)
        multiply((const uint8_t *)q, keys + column / 16 * depth * TILE, depth, 0, by, (int32_t *)(scores + column));
}

/* Products of up to ROWS rows of weights, (ROWS, padded), with 32 columns of the values; part: (ROWS, 32). */
INLINE void weigh_values(const bf16 *weights, long padded, long rows, const uint8_t *values, long width, float *part) {
    (void)rows;
    const Strides by = {.row = padded * 2, .step = 64, .column_step = width / 16 * TILE, .half = TILE, .out = COLUMNS};
    multiply((const uint8_t *)weights, values, padded / 32, 0, by, (int32_t *)part);
}
