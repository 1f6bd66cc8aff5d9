
/* Groups so small that weights are multiplied by the scale before the codes. */
static int32_t is_small(const struct conv *c)
{
    return c->quads < 2;
}

static int32_t groups_of(const struct conv *c)
{
    return (int32_t)c->window.kernel[0] * c->window.kernel[1] * c->tap_groups;
}

/* The sums of the codes of every group at both positions, then the codes at the first and at the second. */
static void see_ternary(const struct conv *c, const uint8_t *in, const uint8_t *zeros, const int32_t at[4],
                        uint32_t *seen)
{
    const int32_t groups = groups_of(c), size = 4 * c->quads;
    uint8_t *first = (uint8_t *)(seen + 2 * groups), *second = first + c->length;
    int32_t group;
    gather_codes(&c->window, in, zeros, at, c->inputs, c->padded, c->length, first);
    gather_codes(&c->window, in, zeros, at + 2, c->inputs, c->padded, c->length, second);
    for (group = 0; group < groups && !is_small(c); group++) {
        *seen++ = sum_of_codes(first, size);
        *seen++ = sum_of_codes(second, size);
        first += size;
        second += size;
    }
}

/* Weights of 16 inputs, plus 2, of the channel whose bits are `n` places up. */
#define LEVELS(n) vandq_u8(vshrq_n_u8(word, n), three)
#define ADD_CHANNEL(a, b, levels) \
    of_channel = levels; \
    a = vmladavaq_u8(a, of_channel, x); \
    b = vmladavaq_u8(b, of_channel, y);
#define GROUP_STEP(load) \
    word = veorq_u8(load(code), twos); \
    x = load(first); \
    y = load(second); \
    ADD_CHANNEL(a0, a1, vandq_u8(word, three)) \
    ADD_CHANNEL(b0, b1, LEVELS(2)) \
    ADD_CHANNEL(c0, c1, LEVELS(4)) \
    ADD_CHANNEL(d0, d1, vshrq_n_u8(word, 6))
#define LAST_CODES(from) vldrbq_z_u8(from, left)
#define ADD_SUM(n, a, b) \
    totals[n] += scale[n] * (int32_t)(a); \
    totals[SUMS + (n)] += scale[n] * (int32_t)(b);

/* Adds the sums of four output channels at two positions, 16 products an instruction. Weights are 1, 2 and 3, so the
   sums begin with twice the codes' sum taken away. */
KERNEL void ternary_block(const struct conv *c, struct weights *from, const uint32_t *seen, int32_t groups,
                          int32_t *totals)
{
    const uint8x16_t twos = vdupq_n_u8(0xaa), three = vdupq_n_u8(3);
    const uint8_t *code = (const uint8_t *)from->codes, *scale = from->scales;
    const uint8_t *first = (const uint8_t *)(seen + 2 * groups), *second = first + c->length;
    for (; groups > 0; groups--) {
        const uint32_t of_first = 0 - 2 * seen[0], of_second = 0 - 2 * seen[1];
        uint32_t a0 = of_first, b0 = of_first, c0 = of_first, d0 = of_first;
        uint32_t a1 = of_second, b1 = of_second, c1 = of_second, d1 = of_second;
        uint8x16_t word, x, y, of_channel;
        int32_t size = 4 * c->quads;
        for (; size >= 16; size -= 16) {
            GROUP_STEP(vldrbq_u8)
            code += 16;
            first += 16;
            second += 16;
        }
        if (size > 0) {
            const mve_pred16_t left = vctp8q((uint32_t)size);
            GROUP_STEP(LAST_CODES)
            code += size;
            first += size;
            second += size;
        }
        ADD_SUM(0, a0, a1)
        ADD_SUM(1, b0, b1)
        ADD_SUM(2, c0, c1)
        ADD_SUM(3, d0, d1)
        seen += 2;
        scale += 4;
    }
    from->codes = (const uint32_t *)(const void *)code;
    from->scales = scale;
}

/* A channel's weights of 8 inputs, two groups, times their scales. */
#define SCALED(n) \
    vmulq_s16(vshrq_n_s16(vshlq_n_s16(word, 14 - 2 * (n)), 14), \
              vreinterpretq_s16_u16(vldrbq_gather_offset_z_u16(scale + (n), places, left)))
#define SMALL_CHANNEL(n, a, b) \
    of_channel = SCALED(n); \
    a = vmladavaq_s16(a, of_channel, x); \
    b = vmladavaq_s16(b, of_channel, y);

/* Adds the sums of four output channels at two positions, where a group is a quad. */
KERNEL void small_block(const struct conv *c, struct weights *from, const uint32_t *seen, int32_t groups,
                        int32_t *totals)
{
    const uint16x8_t places = vandq_u16(vidupq_n_u16(0, 1), vdupq_n_u16(4));
    const uint8_t *code = (const uint8_t *)from->codes, *scale = from->scales;
    const uint8_t *first = (const uint8_t *)(seen + 2 * groups), *second = first + c->length;
    int32_t a0 = 0, b0 = 0, c0 = 0, d0 = 0, a1 = 0, b1 = 0, c1 = 0, d1 = 0, size = 4 * groups;
    for (; size > 0; size -= 8) {
        const mve_pred16_t left = vctp16q((uint32_t)size);
        const int16x8_t word = vreinterpretq_s16_u16(vldrbq_z_u16(code, left));
        const int16x8_t x = vreinterpretq_s16_u16(vldrbq_z_u16(first, left));
        const int16x8_t y = vreinterpretq_s16_u16(vldrbq_z_u16(second, left));
        int16x8_t of_channel;
        SMALL_CHANNEL(0, a0, a1)
        SMALL_CHANNEL(1, b0, b1)
        SMALL_CHANNEL(2, c0, c1)
        SMALL_CHANNEL(3, d0, d1)
        code += 8;
        first += 8;
        second += 8;
        scale += 8;
    }
    totals[0] += a0, totals[1] += b0, totals[2] += c0, totals[3] += d0;
    totals[SUMS] += a1, totals[SUMS + 1] += b1, totals[SUMS + 2] += c1, totals[SUMS + 3] += d1;
    from->codes += groups;
    from->scales += 4 * groups;
}

static void ternary_sums(const struct conv *c, struct weights *from, const uint32_t *seen, int32_t *sums)
{
    const int32_t groups = groups_of(c);
    int32_t plane;
    sums[0] = sums[1] = sums[2] = sums[3] = 0;
    sums[SUMS] = sums[SUMS + 1] = sums[SUMS + 2] = sums[SUMS + 3] = 0;
    for (plane = 0; plane < c->planes; plane++) {
        if (is_small(c)) {
            small_block(c, from, seen, groups, sums);
        } else {
            ternary_block(c, from, seen, groups, sums);
        }
    }
}
