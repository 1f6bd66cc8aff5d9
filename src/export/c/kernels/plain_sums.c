
/* The sums of `count` neighbouring outputs from `channel` on. */
KERNEL void plain_sums(const struct depthwise *d, const uint8_t *in, const int32_t *places, int32_t taps,
                       int32_t channel, int32_t count, int32_t *sums)
{
    const int8_t *weights = d->weights + channel;
    const int32_t *end = places + 2 * taps;
    int32_t source = channel / d->multiplier, copy = channel % d->multiplier;
    for (; count > 0; count--, weights++) {
        const int32_t *at;
        int32_t sum = 0;
        for (at = places; at < end; at += 2) {
            sum += weights[at[1]] * ((int32_t)in[at[0] + source] - d->zero);
        }
        *sums++ = sum;
        if (++copy == d->multiplier) {
            copy = 0;
            source++;
        }
    }
}
