
/* Outputs of a position whose sums are made before they become codes. */
#define SUMS 16

struct conv {
    struct window window;
    struct store store;
    const uint32_t *codes; /* NULL: weights of 8 bits */
    const uint8_t *scales;
    const int8_t *weights;
    const uint8_t *zeros; /* zero points of the input's channels; NULL: all are `zero` */
    const int32_t *logit_factor; /* NULL: sums become codes */
    int32_t length;                  /* codes that a window sees, with what fills them up */
    int16_t groups, inputs, outputs; /* channel groups; channels of each */
    int16_t padded;                  /* codes of a tap */
    int16_t tap_groups, quads;       /* groups of a tap; quarters of the inputs of a group */
    uint8_t planes, zero, logit_shift;
};

/* Where weights are read. */
struct weights {
    const uint32_t *codes;
    const uint8_t *scales;
    const int8_t *bytes;
};

/* The image's codes under a tap; zero points in the padding. */
static const uint8_t *codes_at(const struct window *w, const uint8_t *in, const uint8_t *zeros, const int32_t at[2],
                               int32_t row, int32_t column)
{
    const uint8_t *codes = tap_at(w, in, at[0], at[1], row, column);
    return codes ? codes : zeros;
}

/* Groups of an output channel's inputs, over all taps. */
INLINE int32_t groups_of(const struct conv *c)
{
    return (int32_t)c->window.kernel[0] * c->window.kernel[1] * c->tap_groups;
}
