
struct rescale {
    int32_t factor;
    uint8_t shift;
    uint8_t zero;
};

/* A distance from zero in units of another tensor. */
static int32_t rescaled(uint8_t code, const struct rescale *by)
{
    const int32_t distance = (int32_t)code - by->zero;
    return (distance * ((int32_t)1 << by->shift) * by->factor + 16384) >> 15;
}
