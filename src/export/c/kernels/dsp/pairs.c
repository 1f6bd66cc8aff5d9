
/* Codes that are gathered four by four. */
struct quad {
    uint32_t codes, *out;
    int32_t count, shift;
};

/* The first and third, then the second and fourth of four codes, times 2^shift, in two words of four. */
static inline void put_quad(struct quad *q, uint32_t codes)
{
    q->out[0] = (codes & 0x00ff00ff) << q->shift;
    q->out[1] = (codes >> 8 & 0x00ff00ff) << q->shift;
    q->out += 4;
}

/* What a window sees, in every other pair of words. Taps are filled up to quads if `apart`, else all together. */
KERNEL void gather_quads(const struct window *w, const uint8_t *in, const uint8_t *zeros, const int32_t at[2],
                         int32_t inputs, int32_t apart, int32_t shift, uint32_t *out)
{
    struct quad q = {0, 0, 0, 0};
    int32_t row, column, i;
    q.out = out, q.shift = shift;
    for (row = 0; row < w->kernel[0]; row++) {
        for (column = 0; column < w->kernel[1]; column++) {
            const uint8_t *codes = codes_at(w, in, zeros, at, row, column);
            i = inputs;
            for (; q.count == 0 && i >= 4; i -= 4, codes += 4) {
                put_quad(&q, word_at(codes));
            }
            for (; i > 0; i--) {
                q.codes |= (uint32_t)*codes++ << 8 * q.count;
                if (++q.count == 4) {
                    put_quad(&q, q.codes);
                    q.codes = 0, q.count = 0;
                }
            }
            if (q.count > 0 && apart) {
                put_quad(&q, q.codes);
                q.codes = 0, q.count = 0;
            }
        }
    }
    if (q.count > 0) {
        put_quad(&q, q.codes);
    }
}
