
/* A sum in units of the result, times 2^fraction. */
static int32_t requantized(int32_t sum, int32_t shift, int32_t factor)
{
    const int32_t rounded = (sum + (((int32_t)1 << shift) >> 1)) >> shift;
    return (saturated16(rounded) * factor + 16384) >> 15;
}
