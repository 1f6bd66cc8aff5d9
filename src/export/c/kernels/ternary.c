
/* Bits 2n and 2n + 1 of a word as a signed number: -1, 0 or 1. */
#define TERNARY(word, n) ((uint32_t)((int32_t)((uint32_t)(word) << (30 - 2 * (n))) >> 30))

/* Adds a group's sums at two positions, which share a word, times the group's scale. */
static void add_group(int32_t sums[2], uint32_t pair, int32_t scale)
{
    const int32_t first = (int32_t)((pair & 0xffff) ^ 0x8000) - 0x8000;
    const int32_t second = (int32_t)(((pair + 0x8000) >> 16) ^ 0x8000) - 0x8000;
    sums[0] += scale * first;
    sums[1] += scale * second;
}

/* The sums of four output channels at two positions. A word of codes holds four inputs of four channels; within a group
   there are only additions and subtractions (the products below are by -1, 0 or 1), then one multiplication by its scale.
   At most 128 inputs form a group, so that sums fit half a word. Moves codes and scales behind what was read. */
static void ternary_block(const uint32_t **codes, const uint8_t **scales, const uint32_t *pairs, int32_t taps,
                          int32_t quads, int32_t group, int32_t sums[8])
{
    const uint32_t *code = *codes;
    const uint8_t *scale = *scales;
    while (taps-- > 0) {
        int32_t left = quads;
        while (left > 0) {
            int32_t n = left < group ? left : group;
            uint32_t a = 0, b = 0, c = 0, d = 0;
            left -= n;
            do {
                const uint32_t word = *code++;
                const uint32_t x0 = pairs[0], x1 = pairs[1], x2 = pairs[2], x3 = pairs[3];
                pairs += 4;
                a += x0 * TERNARY(word, 0) + x1 * TERNARY(word, 1) + x2 * TERNARY(word, 2) + x3 * TERNARY(word, 3);
                b += x0 * TERNARY(word, 4) + x1 * TERNARY(word, 5) + x2 * TERNARY(word, 6) + x3 * TERNARY(word, 7);
                c += x0 * TERNARY(word, 8) + x1 * TERNARY(word, 9) + x2 * TERNARY(word, 10) + x3 * TERNARY(word, 11);
                d += x0 * TERNARY(word, 12) + x1 * TERNARY(word, 13) + x2 * TERNARY(word, 14) + x3 * TERNARY(word, 15);
            } while (--n > 0);
            add_group(sums, a, scale[0]);
            add_group(sums + 2, b, scale[1]);
            add_group(sums + 4, c, scale[2]);
            add_group(sums + 6, d, scale[3]);
            scale += 4;
        }
    }
    *codes = code;
    *scales = scale;
}
