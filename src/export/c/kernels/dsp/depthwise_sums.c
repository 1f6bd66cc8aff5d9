
/* The sums of four neighbouring outputs: bytes are widened two by two. */
KERNEL void four_sums(const struct depthwise *d, const uint8_t *in, const int8_t *weights, const int32_t *places,
                      const int32_t *end, int32_t *sums)
{
    const uint32_t zeros = d->zero * 0x00010001u;
    int32_t a = 0, b = 0, c = 0, e = 0;
    for (; places < end; places += 2) {
        const uint32_t codes = word_at(in + places[0]), of_tap = word_at(weights + places[1]);
        const int32_t even = (int32_t)__usub16(codes & 0x00ff00ff, zeros), of_even = __sxtb16(of_tap);
        const int32_t odd = (int32_t)__usub16(codes >> 8 & 0x00ff00ff, zeros), of_odd = odd_bytes(of_tap);
        a = __smlabb(even, of_even, a);
        b = __smlabb(odd, of_odd, b);
        c = __smlatt(even, of_even, c);
        e = __smlatt(odd, of_odd, e);
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = e;
}

static void depthwise_sums(const struct depthwise *d, const uint8_t *in, const int32_t *places, int32_t taps,
                           int32_t channel, int32_t count, int32_t *sums)
{
    int32_t i = 0;
    for (; d->multiplier == 1 && i + 4 <= count; i += 4) {
        four_sums(d, in + channel + i, d->weights + channel + i, places, places + 2 * taps, sums + i);
    }
    plain_sums(d, in, places, taps, channel + i, count - i, sums + i);
}
