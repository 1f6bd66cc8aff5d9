
struct window {
    int16_t height, width, channels; /* of the input */
    int16_t out_height, out_width;
    int16_t kernel[2], stride[2], dilation[2];
    int16_t top, left;
};

/* The input position under a tap of the window of (y, x); NULL in the padding. */
static const uint8_t *tap_at(const struct window *w, const uint8_t *in, int32_t y, int32_t x, int32_t row, int32_t column)
{
    const int32_t in_y = y * w->stride[0] + row * w->dilation[0] - w->top;
    const int32_t in_x = x * w->stride[1] + column * w->dilation[1] - w->left;
    if (in_y < 0 || in_x < 0 || in_y >= w->height || in_x >= w->width) {
        return 0;
    }
    return in + (in_y * w->width + in_x) * w->channels;
}
