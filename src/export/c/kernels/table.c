
/* Looks codes up; `step` is 256 if every channel has its own table, else 0. */
static void table(const uint8_t *in, uint8_t *out, int32_t positions, int32_t channels, const uint8_t *entries,
                  int32_t step)
{
    int32_t channel;
    for (; positions > 0; positions--) {
        for (channel = 0; channel < channels; channel++) {
            *out++ = entries[step * channel + *in++];
        }
    }
}
