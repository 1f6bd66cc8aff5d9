
static void mul(const struct operands *o, const uint8_t *left, const uint8_t *right, uint8_t *out,
                const uint8_t zeros[2], int32_t shift, int32_t factor, int32_t offset, int32_t max)
{
    int32_t y, x, channel;
    for (y = 0; y < o->height; y++) {
        for (x = 0; x < o->width; x++) {
            for (channel = 0; channel < o->channels; channel++) {
                const int32_t other = right[y * o->row + x * o->column + channel * o->channel];
                const int32_t product = ((int32_t)*left++ - zeros[0]) * (other - zeros[1]);
                *out++ = code_of(requantized(product, shift, factor), offset, 0, 0, max);
            }
        }
    }
}
