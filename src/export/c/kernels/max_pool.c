
static void max_pool(const struct window *w, const uint8_t *in, uint8_t *out)
{
    int32_t y, x, row, column, channel;
    for (y = 0; y < w->out_height; y++) {
        for (x = 0; x < w->out_width; x++, out += w->channels) {
            for (channel = 0; channel < w->channels; channel++) {
                out[channel] = 0;
            }
            for (row = 0; row < w->kernel[0]; row++) {
                for (column = 0; column < w->kernel[1]; column++) {
                    const uint8_t *at = tap_at(w, in, y, x, row, column);
                    for (channel = 0; at && channel < w->channels; channel++) {
                        out[channel] = at[channel] > out[channel] ? at[channel] : out[channel];
                    }
                }
            }
        }
    }
}
