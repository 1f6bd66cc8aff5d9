
/* The sums of the codes at both positions, then the codes at the first and at the second. */
static void see_bytes(const struct conv *c, const uint8_t *in, const uint8_t *zeros, const int32_t at[4],
                      uint32_t *seen)
{
    uint8_t *first = (uint8_t *)(seen + 2), *second = first + c->length;
    gather_codes(&c->window, in, zeros, at, c->inputs, c->inputs, c->length, first);
    gather_codes(&c->window, in, zeros, at + 2, c->inputs, c->inputs, c->length, second);
    seen[0] = sum_of_codes(first, c->length);
    seen[1] = sum_of_codes(second, c->length);
}

#define BYTES_STEP(load) \
    of_a = veorq_u8(load(a), half); \
    of_b = veorq_u8(load(b), half); \
    codes = load(first); \
    a0 = vmladavaq_u8(a0, of_a, codes); \
    b0 = vmladavaq_u8(b0, of_b, codes); \
    codes = load(second); \
    a1 = vmladavaq_u8(a1, of_a, codes); \
    b1 = vmladavaq_u8(b1, of_b, codes);
#define LAST(from) vldrbq_z_u8(from, left)

/* The sums of two output channels at two positions, 16 products an instruction. Both factors of a product have the same
   sign there, so weights are 128 larger, and 128 times the codes' sum is taken away. */
KERNEL void bytes_pair(const int8_t *weights, const uint32_t *seen, int32_t length, int32_t *sums)
{
    const uint8x16_t half = vdupq_n_u8(128);
    const uint8_t *a = (const uint8_t *)weights, *b = a + length;
    const uint8_t *first = (const uint8_t *)(seen + 2), *second = first + length;
    uint32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
    uint8x16_t of_a, of_b, codes;
    for (; length >= 16; length -= 16) {
        BYTES_STEP(vldrbq_u8)
        a += 16;
        b += 16;
        first += 16;
        second += 16;
    }
    if (length > 0) {
        const mve_pred16_t left = vctp8q((uint32_t)length);
        BYTES_STEP(LAST)
    }
    sums[0] = (int32_t)(a0 - 128 * seen[0]), sums[SUMS] = (int32_t)(a1 - 128 * seen[1]);
    sums[1] = (int32_t)(b0 - 128 * seen[0]), sums[SUMS + 1] = (int32_t)(b1 - 128 * seen[1]);
}
