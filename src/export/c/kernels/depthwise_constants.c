
/* Outputs of a position whose sums are made before they become codes. */
#define DEPTHWISE_SUMS 16

/* A convolution of every channel on its own, or of `multiplier` outputs of each. */
struct depthwise {
    struct window window;
    struct store store;
    const int8_t *weights; /* tap by tap, those of all outputs */
    int16_t multiplier;
    uint8_t zero;
};
