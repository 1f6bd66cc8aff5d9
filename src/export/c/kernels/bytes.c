
static void see_bytes(const struct conv *c, const uint8_t *in, const uint8_t *zeros, const int32_t at[4],
                      uint32_t *seen)
{
    gather(&c->window, in, zeros, at, c->inputs, c->inputs, c->length, seen);
}

#define BYTES_STEP(n) \
    pair = pairs[n]; \
    first = (int32_t)(pair & 0xffff); \
    second = (int32_t)(pair >> 16); \
    a0 += a[n] * first; \
    a1 += a[n] * second; \
    b0 += b[n] * first; \
    b1 += b[n] * second;

/* The sums of two output channels at two positions, with weights of 8 bits. */
KERNEL void bytes_pair(const int8_t *weights, const uint32_t *pairs, int32_t length, int32_t *sums)
{
    const int8_t *a = weights, *b = weights + length;
    int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0, first, second;
    uint32_t pair;
    for (; length > 0; length -= 4) {
        BYTES_STEP(0)
        BYTES_STEP(1)
        BYTES_STEP(2)
        BYTES_STEP(3)
        pairs += 4;
        a += 4;
        b += 4;
    }
    sums[0] = a0, sums[1] = b0, sums[SUMS] = a1, sums[SUMS + 1] = b1;
}
