
static void add(const struct operands *o, const uint8_t *left, const uint8_t *right, uint8_t *out,
                const struct rescale by[2], int32_t offset, int32_t fraction, int32_t max)
{
    int32_t y, x, channel;
    for (y = 0; y < o->height; y++) {
        for (x = 0; x < o->width; x++) {
            for (channel = 0; channel < o->channels; channel++) {
                const uint8_t other = right[y * o->row + x * o->column + channel * o->channel];
                const int32_t sum = saturated16(rescaled(*left++, &by[0]) + rescaled(other, &by[1]));
                *out++ = code_of(sum, offset, fraction, 0, max);
            }
        }
    }
}
