
/* What becomes of a convolution's sums. */
struct store {
    const int32_t *bias; /* with the input's zero point in it, where raw codes are summed */
    const int16_t *factor;
    const uint8_t *shift;
    const struct rescale *residual; /* NULL if there is none */
    int16_t offset;
    uint8_t fraction, low, high;
};
