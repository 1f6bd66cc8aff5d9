
static void see_bytes(const struct conv *c, const uint8_t *in, const uint8_t *zeros, const int32_t at[4],
                      uint32_t *seen)
{
    gather_quads(&c->window, in, zeros, at, c->inputs, 0, 0, seen);
    gather_quads(&c->window, in, zeros, at + 2, c->inputs, 0, 0, seen + 2);
}

/* The sums of two output channels at two positions, two products an instruction. */
KERNEL void bytes_pair(const int8_t *weights, const uint32_t *pairs, int32_t length, int32_t *sums)
{
    const int8_t *a = weights, *b = weights + length;
    int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
    for (; length > 0; length -= 4) {
        const uint32_t of_a = word_at(a), of_b = word_at(b);
        const int32_t a_even = __sxtb16(of_a), a_odd = odd_bytes(of_a);
        const int32_t b_even = __sxtb16(of_b), b_odd = odd_bytes(of_b);
        a0 = __smlad(a_even, (int32_t)pairs[0], a0);
        b0 = __smlad(b_even, (int32_t)pairs[0], b0);
        a0 = __smlad(a_odd, (int32_t)pairs[1], a0);
        b0 = __smlad(b_odd, (int32_t)pairs[1], b0);
        a1 = __smlad(a_even, (int32_t)pairs[2], a1);
        b1 = __smlad(b_even, (int32_t)pairs[2], b1);
        a1 = __smlad(a_odd, (int32_t)pairs[3], a1);
        b1 = __smlad(b_odd, (int32_t)pairs[3], b1);
        pairs += 4;
        a += 4;
        b += 4;
    }
    sums[0] = a0, sums[1] = b0, sums[SUMS] = a1, sums[SUMS + 1] = b1;
}
