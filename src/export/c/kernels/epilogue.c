
/* What becomes of a convolution's sums. */
struct store {
    const int32_t *bias; /* with the input's zero point in it */
    const int16_t *factor;
    const uint8_t *shift;
    const struct rescale *residual; /* NULL if there is none */
    int16_t offset;
    uint8_t fraction, low, high;
};

static uint8_t stored(const struct store *s, int32_t channel, int32_t sum, const uint8_t *residual)
{
    int32_t value = requantized(sum + s->bias[channel], s->shift[channel], s->factor[channel]);
    if (s->residual) {
        value = saturated16(value + rescaled(*residual, s->residual));
    }
    return code_of(value, s->offset, s->fraction, s->low, s->high);
}
