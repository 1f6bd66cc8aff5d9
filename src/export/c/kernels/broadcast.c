
/* Extents of the first operand, and how far the second moves with rows, columns and channels. */
struct operands {
    int16_t height, width, channels;
    int32_t row, column, channel;
};
