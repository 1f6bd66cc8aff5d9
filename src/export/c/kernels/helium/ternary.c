
/* Groups so small that weights are multiplied by the scale before the codes. */
static int32_t is_small(const struct conv *c)
{
    return c->quads <= 2;
}

/* Twice the sums of the codes of every group at both positions, then the codes at the first and at the second. */
static void see_ternary(const struct conv *c, const uint8_t *in, const uint8_t *zeros, const int32_t at[4],
                        uint32_t *seen)
{
    const int32_t groups = groups_of(c), size = 4 * c->quads;
    uint8_t *first = (uint8_t *)(seen + 2 * groups), *second = first + c->length;
    int32_t group;
    gather_codes(&c->window, in, zeros, at, c->inputs, c->padded, c->length, first);
    gather_codes(&c->window, in, zeros, at + 2, c->inputs, c->padded, c->length, second);
    for (group = 0; group < groups && !is_small(c); group++) {
        *seen++ = 2 * sum_of_codes(first, size);
        *seen++ = 2 * sum_of_codes(second, size);
        first += size;
        second += size;
    }
}

/* Products of 16 codes with the weights, plus 2, of four output channels. */
#define LEVELS(n) vandq_u8(vshrq_n_u8(word, n), three)
#define READ(load) \
    word = veorq_u8(load(code), twos); \
    x = load(first); \
    y = load(second);
#define FIRST_PRODUCTS(a, b, levels) \
    of_channel = levels; \
    a = vmladavq_u8(of_channel, x); \
    b = vmladavq_u8(of_channel, y);
#define MORE_PRODUCTS(a, b, levels) \
    of_channel = levels; \
    a = vmladavaq_u8(a, of_channel, x); \
    b = vmladavaq_u8(b, of_channel, y);
#define FOUR_CHANNELS(products) \
    products(a0, a1, vandq_u8(word, three)) \
    products(b0, b1, LEVELS(2)) \
    products(c0, c1, LEVELS(4)) \
    products(d0, d1, vshrq_n_u8(word, 6))
#define MOVE_ON(step) \
    code += step; \
    first += step; \
    second += step;

static inline uint32x4_t four(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    uint32x4_t all = vdupq_n_u32(a);
    all = vsetq_lane_u32(b, all, 1);
    all = vsetq_lane_u32(c, all, 2);
    return vsetq_lane_u32(d, all, 3);
}

/* Adds what four groups' sums are more than twice their codes' sum, times the scales. */
static inline uint32x4_t with_groups(uint32x4_t sums, uint32x4_t groups, uint32_t twice, uint32x4_t scales)
{
    return vaddq_u32(sums, vmulq_u32(vsubq_n_u32(groups, twice), scales));
}

/* Adds the sums of four output channels at two positions, 16 products an instruction. As weights are 1, 2 and 3 there,
   twice the codes' sum is taken away. */
#define TERNARY_BLOCK(name, load, step) \
    KERNEL void name(const struct conv *c, const struct weights *from, const uint32_t *seen, int32_t groups, \
                     int32_t *totals) \
    { \
        const uint8x16_t twos = vdupq_n_u8(0xaa), three = vdupq_n_u8(3); \
        const uint8_t *code = (const uint8_t *)from->codes, *scale = from->scales; \
        const uint8_t *first = (const uint8_t *)(seen + 2 * groups), *second = first + c->length; \
        const int32_t size = 4 * c->quads; \
        uint32x4_t of_first = vreinterpretq_u32_s32(vldrwq_s32(totals)); \
        uint32x4_t of_second = vreinterpretq_u32_s32(vldrwq_s32(totals + SUMS)); \
        for (; groups > 0; groups--) { \
            uint32_t a0, b0, c0, d0, a1, b1, c1, d1; \
            uint8x16_t word, x, y, of_channel; \
            int32_t left = size; \
            READ(load) \
            FOUR_CHANNELS(FIRST_PRODUCTS) \
            MOVE_ON(step) \
            while ((left -= 16) > 0) { \
                READ(load) \
                FOUR_CHANNELS(MORE_PRODUCTS) \
                MOVE_ON(step) \
            } \
            of_first = with_groups(of_first, four(a0, b0, c0, d0), seen[0], vldrbq_u32(scale)); \
            of_second = with_groups(of_second, four(a1, b1, c1, d1), seen[1], vldrbq_u32(scale)); \
            seen += 2; \
            scale += 4; \
        } \
        vstrwq_s32(totals, vreinterpretq_s32_u32(of_first)); \
        vstrwq_s32(totals + SUMS, vreinterpretq_s32_u32(of_second)); \
    }

/* Groups of 16 inputs and more, or of others. */
#define UP_TO_16(from) vldrbq_z_u8(from, vctp8q((uint32_t)left))
TERNARY_BLOCK(whole_block, vldrbq_u8, 16)
TERNARY_BLOCK(broken_block, UP_TO_16, (left < 16 ? left : 16))

/* A channel's weights of 8 inputs times their scales. */
#define SCALED(n, gather) \
    vmulq_s16(vshrq_n_s16(vshlq_n_s16(word, 14 - 2 * (n)), 14), vreinterpretq_s16_u16(gather(scale + (n))))
#define SMALL_CHANNEL(n, a, b, gather) \
    BARRIER; \
    of_channel = SCALED(n, gather); \
    a = vmladavaq_s16(a, of_channel, x); \
    b = vmladavaq_s16(b, of_channel, y);
#define SMALL_STEP(load, gather) \
    word = vreinterpretq_s16_u16(load(code)); \
    x = vreinterpretq_s16_u16(load(first)); \
    y = vreinterpretq_s16_u16(load(second)); \
    SMALL_CHANNEL(0, a0, a1, gather) \
    SMALL_CHANNEL(1, b0, b1, gather) \
    SMALL_CHANNEL(2, c0, c1, gather) \
    SMALL_CHANNEL(3, d0, d1, gather)
#define ALL_SCALES(from) vldrbq_gather_offset_u16(from, places)
#define LAST_SMALL(from) vldrbq_z_u16(from, left)
#define LAST_SCALES(from) vldrbq_gather_offset_z_u16(from, places, left)

/* Adds the sums of four output channels at two positions, where a group is a quad or two. */
KERNEL void small_block(const struct conv *c, const struct weights *from, const uint32_t *seen, int32_t groups,
                        int32_t *totals)
{
    const uint16x8_t places = vandq_u16(vidupq_n_u16(0, 1), vdupq_n_u16(c->quads == 1 ? 4 : 0));
    const uint8_t *code = (const uint8_t *)from->codes, *scale = from->scales;
    const uint8_t *first = (const uint8_t *)(seen + 2 * groups), *second = first + c->length;
    const int32_t step = c->quads == 1 ? 8 : 4;
    int32_t a0 = 0, b0 = 0, c0 = 0, d0 = 0, a1 = 0, b1 = 0, c1 = 0, d1 = 0, size = 4 * c->quads * groups;
    int16x8_t word, x, y, of_channel;
    for (; size >= 8; size -= 8) {
        SMALL_STEP(vldrbq_u16, ALL_SCALES)
        code += 8;
        first += 8;
        second += 8;
        scale += step;
    }
    if (size > 0) {
        const mve_pred16_t left = vctp16q((uint32_t)size);
        SMALL_STEP(LAST_SMALL, LAST_SCALES)
    }
    totals[0] += a0, totals[1] += b0, totals[2] += c0, totals[3] += d0;
    totals[SUMS] += a1, totals[SUMS + 1] += b1, totals[SUMS + 2] += c1, totals[SUMS + 3] += d1;
}

static void ternary_block(const struct conv *c, struct weights *from, const uint32_t *seen, int32_t groups,
                          int32_t *totals)
{
    if (is_small(c)) {
        small_block(c, from, seen, groups, totals);
    } else if (c->quads % 4 == 0) {
        whole_block(c, from, seen, groups, totals);
    } else {
        broken_block(c, from, seen, groups, totals);
    }
    from->codes += groups * c->quads;
    from->scales += 4 * groups;
}
