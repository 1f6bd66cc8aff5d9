
static void see_ternary(const struct conv *c, const uint8_t *in, const uint8_t *zeros, const int32_t at[4],
                        uint32_t *seen)
{
    gather(&c->window, in, zeros, at, c->inputs, c->padded, c->length, seen);
}

/* Bits 2n and 2n + 1 of a word as a signed number: -1, 0 or 1. */
#define TERNARY(word, n) ((int32_t)((word) << (30 - 2 * (n))) >> 30)
#define TERNARY_STEP(n) \
    x = (int32_t)pairs[n]; \
    a += x * TERNARY(word, 4 * (n)); \
    b += x * TERNARY(word, 4 * (n) + 1); \
    c += x * TERNARY(word, 4 * (n) + 2); \
    d += x * TERNARY(word, 4 * (n) + 3);

/* Adds a group's sums at two positions, times the group's scale. */
#define ADD_GROUP(n, pair) \
    sums[n] += scale[n] * ((((pair) & 0xffff) ^ 0x8000) - 0x8000); \
    sums[4 + (n)] += scale[n] * (((pair) + 0x8000) >> 16);

/* Adds the sums of four output channels at two positions. A word of codes holds four inputs of four channels; within a
   group there are only additions and subtractions (the products are by -1, 0 or 1), then one multiplication by its
   scale. Both positions share a word: their sums fit half of it, as at most 64 inputs form a group. Moves codes and
   scales behind what was read. */
KERNEL void ternary_block(const struct conv *conv, struct weights *from, const uint32_t *pairs, int32_t groups,
                          int32_t *totals)
{
    const uint32_t *code = from->codes;
    const uint8_t *scale = from->scales;
    const int32_t quads = conv->quads;
    int32_t sums[8] = {0, 0, 0, 0, 0, 0, 0, 0}, i;
    for (; groups > 0; groups--) {
        int32_t a = 0, b = 0, c = 0, d = 0, x, n = quads;
        do {
            const uint32_t word = *code++;
            TERNARY_STEP(0)
            TERNARY_STEP(1)
            TERNARY_STEP(2)
            TERNARY_STEP(3)
            pairs += 4;
        } while (--n > 0);
        ADD_GROUP(0, a)
        ADD_GROUP(1, b)
        ADD_GROUP(2, c)
        ADD_GROUP(3, d)
        scale += 4;
    }
    for (i = 0; i < 4; i++) {
        totals[i] += sums[i];
        totals[SUMS + i] += sums[4 + i];
    }
    from->codes = code;
    from->scales = scale;
}
