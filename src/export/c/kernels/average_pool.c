
/* Means; `factor` and `shift` belong to the number of elements that count, from 1. */
struct average {
    struct window window;
    int16_t end[2]; /* first row and column, counted from the image's, that never count */
    int16_t start[2];
    const int16_t *factor;
    const uint8_t *shift;
    int16_t offset;
    uint8_t zero, max;
};

static int32_t counted(const struct average *a, int32_t axis, int32_t position, int32_t before)
{
    int32_t tap, count = 0;
    for (tap = 0; tap < a->window.kernel[axis]; tap++) {
        const int32_t at = position * a->window.stride[axis] + tap * a->window.dilation[axis] - before;
        count += at >= a->start[axis] && at < a->end[axis];
    }
    return count;
}

static void average_pool(const struct average *a, const uint8_t *in, uint8_t *out)
{
    const struct window *w = &a->window;
    int32_t y, x, row, column, channel;
    for (y = 0; y < w->out_height; y++) {
        for (x = 0; x < w->out_width; x++) {
            const int32_t count = counted(a, 0, y, w->top) * counted(a, 1, x, w->left);
            const int32_t place = count > 1 ? count - 1 : 0;
            for (channel = 0; channel < w->channels; channel++) {
                int32_t sum = 0;
                for (row = 0; row < w->kernel[0]; row++) {
                    for (column = 0; column < w->kernel[1]; column++) {
                        const uint8_t *at = tap_at(w, in, y, x, row, column);
                        sum += at ? (int32_t)at[channel] - a->zero : 0;
                    }
                }
                *out++ = code_of(requantized(sum, a->shift[place], a->factor[place]), a->offset, 0, 0, a->max);
            }
        }
    }
}
