
/* The sums of four output channels at two positions, with weights of 8 bits. Moves weights behind what was read. */
static void bytes_block(const int8_t **weights, const uint32_t *pairs, int32_t count, int32_t sums[8])
{
    const int8_t *w = *weights;
    int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0, c0 = 0, c1 = 0, d0 = 0, d1 = 0;
    for (; count > 0; count--) {
        const uint32_t pair = *pairs++;
        const int32_t first = (int32_t)(pair & 0xffff), second = (int32_t)(pair >> 16);
        a0 += w[0] * first;
        a1 += w[0] * second;
        b0 += w[1] * first;
        b1 += w[1] * second;
        c0 += w[2] * first;
        c1 += w[2] * second;
        d0 += w[3] * first;
        d1 += w[3] * second;
        w += 4;
    }
    sums[0] = a0, sums[1] = a1, sums[2] = b0, sums[3] = b1;
    sums[4] = c0, sums[5] = c1, sums[6] = d0, sums[7] = d1;
    *weights = w;
}
