
/* The scratch holds the taps that lie in the image: where, and where their weights are. */
static void depthwise(const struct depthwise *d, const uint8_t *in, const uint8_t *residual, uint8_t *out,
                      int32_t *scratch)
{
    const struct window *w = &d->window;
    const int32_t outputs = (int32_t)w->channels * d->multiplier;
    int32_t y, x, row, column, channel;
    for (y = 0; y < w->out_height; y++) {
        for (x = 0; x < w->out_width; x++) {
            int32_t taps = 0;
            for (row = 0; row < w->kernel[0]; row++) {
                for (column = 0; column < w->kernel[1]; column++) {
                    const uint8_t *at = tap_at(w, in, y, x, row, column);
                    if (at) {
                        scratch[2 * taps] = (int32_t)(at - in);
                        scratch[2 * taps + 1] = (row * w->kernel[1] + column) * outputs;
                        taps++;
                    }
                }
            }
            for (channel = 0; channel < outputs; channel += DEPTHWISE_SUMS) {
                const int32_t left = outputs - channel, count = left < DEPTHWISE_SUMS ? left : DEPTHWISE_SUMS;
                int32_t sums[DEPTHWISE_SUMS];
                depthwise_sums(d, in, scratch, taps, channel, count, sums);
                store_codes(&d->store, channel, count, sums, residual, out);
                residual = residual ? residual + count : residual;
                out += count;
            }
        }
    }
}
