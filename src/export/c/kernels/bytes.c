
#define BYTES_STEP(n) \
    pair = pairs[n]; \
    first = (int32_t)(pair & 0xffff); \
    second = (int32_t)(pair >> 16); \
    a0 += weights[4 * (n)] * first; \
    a1 += weights[4 * (n)] * second; \
    b0 += weights[4 * (n) + 1] * first; \
    b1 += weights[4 * (n) + 1] * second;

/* The sums of two output channels at two positions, with weights of 8 bits, four channels side by side. */
KERNEL void bytes_pair(const int8_t *weights, const uint32_t *pairs, int32_t count, int32_t sums[4])
{
    int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0, first, second;
    uint32_t pair;
    for (; count >= 4; count -= 4) {
        BYTES_STEP(0)
        BYTES_STEP(1)
        BYTES_STEP(2)
        BYTES_STEP(3)
        pairs += 4;
        weights += 16;
    }
    for (; count > 0; count--) {
        BYTES_STEP(0)
        pairs++;
        weights += 4;
    }
    sums[0] = a0, sums[1] = a1, sums[2] = b0, sums[3] = b1;
}

/* The sums of four output channels. Moves weights behind what was read. */
static void bytes_block(const int8_t **weights, const uint32_t *pairs, int32_t count, int32_t sums[8])
{
    bytes_pair(*weights, pairs, count, sums);
    bytes_pair(*weights + 2, pairs, count, sums + 4);
    *weights += 4 * count;
}
