
/* A sum in the unit of the logits. */
static int32_t scaled_wide(int32_t sum, int32_t factor, int32_t shift)
{
    const int64_t value = ((int64_t)sum * factor + (((int64_t)1 << shift) >> 1)) >> shift;
    return value < INT32_MIN ? INT32_MIN : value > INT32_MAX ? INT32_MAX : (int32_t)value;
}
