
static void global_sum(const uint8_t *in, int32_t *logits, int32_t positions, int32_t channels, int32_t zero)
{
    int32_t channel;
    for (channel = 0; channel < channels; channel++) {
        logits[channel] = channel_sum(in + channel, positions, channels, zero);
    }
}
