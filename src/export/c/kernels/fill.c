
static void fill(uint8_t *out, int32_t count, uint8_t code)
{
    for (; count > 0; count--) {
        *out++ = code;
    }
}
