
static void global_average(const uint8_t *in, uint8_t *out, int32_t positions, int32_t channels, int32_t zero,
                           int32_t shift, int32_t factor, int32_t offset, int32_t max)
{
    int32_t channel;
    for (channel = 0; channel < channels; channel++) {
        const int32_t sum = channel_sum(in + channel, positions, channels, zero);
        out[channel] = code_of(requantized(sum, shift, factor), offset, 0, 0, max);
    }
}
