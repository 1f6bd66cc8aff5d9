
/* The sum of a channel's distances from zero. */
static int32_t channel_sum(const uint8_t *in, int32_t positions, int32_t channels, int32_t zero)
{
    int32_t sum = 0;
    for (; positions > 0; positions--, in += channels) {
        sum += (int32_t)*in - zero;
    }
    return sum;
}
