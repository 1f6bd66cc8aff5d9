
static void narrow(const uint8_t *in, uint8_t *out, int32_t count, const struct rescale *by, int32_t offset, int32_t max)
{
    for (; count > 0; count--) {
        *out++ = code_of(rescaled(*in++, by), offset, 0, 0, max);
    }
}
