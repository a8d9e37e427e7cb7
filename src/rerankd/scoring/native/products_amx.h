/* Products on the matrix units of AMX: blocks of 2 x 2 tiles. Part of encoder.c. */
#include <errno.h>

#define BARRIER __asm__ volatile("" ::: "memory") /* stores are done before tiles are loaded */

/* Ask the system for the tile registers; 0, or an errno. */
static int request_registers(void) {
    return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XTILEDATA */) ? errno : 0;
}

/* Shape the tile registers of this thread. */
static void configure(void) {
    struct { uint8_t palette, start, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; } __attribute__((packed)) c;
    memset(&c, 0, sizeof c);
    c.palette = 1;
    for (int i = 0; i < 8; i++) { c.bytes[i] = 64; c.rows[i] = 16; }
    __asm__ volatile("ldtilecfg %0" ::"m"(c)); /* the intrinsic of some compilers does not read all of it */
}

#define STEP(DP)                                                                                                    \
    _tile_loadd(4, a, 64);                                                                                          \
    _tile_loadd(6, b, 64);                                                                                          \
    _tile_loadd(7, b + TILE, 64);                                                                                   \
    DP(0, 4, 6);                                                                                                    \
    _tile_loadd(5, a + across, 64);                                                                                 \
    DP(1, 4, 7);                                                                                                    \
    DP(2, 5, 6);                                                                                                    \
    DP(3, 5, 7);

INLINE void release(void) { _tile_release(); }

/* rows (m, a multiple of ROWS) times columns from..to (multiples of 32), steps of 64 bytes deep */
INLINE void product(const uint8_t *rows, long m, const uint8_t *panels, long from, long to, long steps, int kind,
                    int int8, const Target *target) {
    int32_t acc[2][ROWS * COLUMNS] __attribute__((aligned(64)));
    Gelu g = {0};
    if (WITH_GELU(kind)) g = gelu_coefficients();
    const long across = steps * TILE;
    BARRIER;
    long turn = 0, last_row = -1, last_column = 0;
    for (long column = from; column < to; column += COLUMNS) {
        const uint8_t *panel = panels + column / COLUMNS * steps * 2 * TILE;
        for (long row = 0; row < m; row += ROWS, turn ^= 1) {
            const uint8_t *a = rows + (row >> 4) * across, *b = panel;
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
            if (int8) {
                for (long s = 0; s < steps; s++, a += TILE, b += 2 * TILE) { STEP(_tile_dpbusd) }
            } else {
                for (long s = 0; s < steps; s++, a += TILE, b += 2 * TILE) { STEP(_tile_dpbf16ps) }
            }
            /* the block before is finished while the tiles of this one are computed */
            if (last_row >= 0) finish(acc[turn ^ 1], last_row, last_column, kind, int8, target, &g);
            int32_t *out = acc[turn];
            _tile_stored(0, out, COLUMNS * 4);
            _tile_stored(1, out + 16, COLUMNS * 4);
            _tile_stored(2, out + 16 * COLUMNS, COLUMNS * 4);
            _tile_stored(3, out + 16 * COLUMNS + 16, COLUMNS * 4);
            last_row = row;
            last_column = column;
        }
    }
    if (last_row >= 0) finish(acc[turn ^ 1], last_row, last_column, kind, int8, target, &g);
}

/* Products of up to ROWS rows of queries with all keys; scores: (ROWS, padded). */
INLINE void score_rows(const bf16 *q, long query_stride, long rows, const uint8_t *keys, long padded, long depth,
                       float *scores) {
    BARRIER;
    const int two = rows > 16;
    for (long column = 0; column < padded; column += 32) {
        const uint8_t *b = keys + column / 16 * depth * TILE;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (long k = 0; k < depth; k++) {
            _tile_loadd(4, q + k * 32, query_stride * 2);
            _tile_loadd(6, b + k * TILE, 64);
            _tile_loadd(7, b + (depth + k) * TILE, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (two) {
                _tile_loadd(5, q + 16 * query_stride + k * 32, query_stride * 2);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
        _tile_stored(0, scores + column, padded * 4);
        _tile_stored(1, scores + column + 16, padded * 4);
        if (two) {
            _tile_stored(2, scores + 16 * padded + column, padded * 4);
            _tile_stored(3, scores + 16 * padded + column + 16, padded * 4);
        }
    }
}

/* Products of up to ROWS rows of weights, (ROWS, padded), with 32 columns of the values; part: (ROWS, 32). */
INLINE void weigh_values(const bf16 *weights, long padded, long rows, const uint8_t *values, long width, float *part) {
    const int two = rows > 16;
    BARRIER;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (long k = 0; k < padded; k += 32) {
        const uint8_t *b = values + k / 32 * (width / 16) * TILE;
        _tile_loadd(4, weights + k, padded * 2);
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + TILE, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (two) {
            _tile_loadd(5, weights + 16 * padded + k, padded * 2);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, part, COLUMNS * 4);
    _tile_stored(1, part + 16, COLUMNS * 4);
    if (two) {
        _tile_stored(2, part + 16 * COLUMNS, COLUMNS * 4);
        _tile_stored(3, part + 16 * COLUMNS + 16, COLUMNS * 4);
    }
}
