
/* A convolution of every channel on its own, or of `multiplier` outputs of each. */
struct depthwise {
    struct window window;
    struct store store;
    const int8_t *weights; /* tap by tap, those of all outputs */
    int16_t multiplier;
    uint8_t zero;
};

/* The scratch holds the taps that lie in the image: where, and where their weights are. */
static void depthwise(const struct depthwise *d, const uint8_t *in, const uint8_t *residual, uint8_t *out,
                      int32_t *scratch)
{
    const struct window *w = &d->window;
    const int32_t outputs = (int32_t)w->channels * d->multiplier;
    int32_t y, x, row, column, i, tap, copy, channel;
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
            for (channel = 0, i = 0; i < w->channels; i++) {
                for (copy = 0; copy < d->multiplier; copy++, channel++) {
                    const uint8_t *source = in + i;
                    const int8_t *weights = d->weights + channel;
                    int32_t sum = 0;
                    for (tap = 0; tap < taps; tap++) {
                        sum += weights[scratch[2 * tap + 1]] * ((int32_t)source[scratch[2 * tap]] - d->zero);
                    }
                    store_codes(&d->store, channel, 1, &sum, 1, residual, out++);
                    residual = residual ? residual + 1 : residual;
                }
            }
        }
    }
}
