
static int32_t limited(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

INLINE int32_t saturated16(int32_t value)
{
#if FGQ_DSP
    return __ssat(value, 16);
#else
    return limited(value, -32767 - 1, 32767);
#endif
}

/* The code of a value with fraction bits, at most 6; the offset holds the zero point and the half that rounds. What
   does not fit 16 bits is far beyond the codes, so it need not be cut before. */
static uint8_t code_of(int32_t value, int32_t offset, int32_t fraction, int32_t low, int32_t high)
{
    return (uint8_t)limited((value + offset) >> fraction, low, high);
}
