
/* What two windows see. */
static void see(const struct conv *c, const uint8_t *in, const uint8_t *zeros, const int32_t at[4], uint32_t *seen)
{
    @SEE@
}

/* The sums of four output channels at two positions, those of the second SUMS behind those of the first. Moves weights
   behind what was read. */
static void sum_block(const struct conv *c, struct weights *from, const uint32_t *seen, int32_t *sums)
{
    @SUM@
}

/* The results of neighbouring channels at one position, from `place` on. */
static void store(const struct conv *c, int32_t first, int32_t count, const int32_t *sums, int32_t place,
                  const uint8_t *residual, uint8_t *out, int32_t *logits)
{
    int32_t i;
    if (!c->logit_factor) {
        store_codes(&c->store, first, count, sums, residual ? residual + place : 0, out + place);
        return;
    }
    for (i = 0; i < count; i++) {
        const int32_t sum = sums[i] + c->store.bias[first + i];
        logits[place + i] = scaled_wide(sum, c->logit_factor[first + i], c->logit_shift);
    }
}

/* The position after (at[0], at[1]). */
static void next_position(const struct window *w, int32_t at[2])
{
    if (++at[1] == w->out_width) {
        at[1] = 0;
        at[0]++;
    }
}

/* One channel group. The scratch holds what two windows see. */
static void conv_group(const struct conv *c, int32_t group, struct weights *from, const uint8_t *in,
                       const uint8_t *zeros, const uint8_t *residual, uint8_t *out, int32_t *logits, uint32_t *seen)
{
    const struct window *w = &c->window;
    const int32_t positions = (int32_t)w->out_height * w->out_width, channels = (int32_t)c->groups * c->outputs;
    const struct weights start = *from;
    int32_t at[4] = {0, 0, 0, 0}, position, channel;
    for (position = 0; position < positions; position += 2) {
        const int32_t both = position + 1 < positions;
        at[2] = at[0], at[3] = at[1];
        if (both) {
            next_position(w, at + 2);
        }
        see(c, in, zeros, at, seen);
        at[0] = at[2], at[1] = at[3];
        next_position(w, at);
        *from = start;
        for (channel = 0; channel < c->outputs; channel += SUMS) {
            int32_t sums[2 * SUMS], i;
            const int32_t first = group * c->outputs + channel;
            const int32_t count = c->outputs - channel < SUMS ? c->outputs - channel : SUMS;
            const int32_t place = position * channels + first;
            for (i = 0; i < count; i += 4) {
                sum_block(c, from, seen, sums + i);
            }
            store(c, first, count, sums, place, residual, out, logits);
            if (both) {
                store(c, first, count, sums + SUMS, place + channels, residual, out, logits);
            }
        }
    }
}

/* A convolution; the result goes to `logits` if it has factors of logits, else to `out`. */
static void conv(const struct conv *c, const uint8_t *in, const uint8_t *residual, uint8_t *out, int32_t *logits,
                 uint32_t *scratch)
{
    const int32_t channels = c->window.channels;
    uint8_t *zeros = (uint8_t *)scratch;
    struct weights from;
    int32_t group, i;
    from.codes = c->codes, from.scales = c->scales, from.bytes = c->weights;
    for (i = 0; i < channels; i++) {
        zeros[i] = c->zeros ? c->zeros[i] : c->zero;
    }
    for (group = 0; group < c->groups; group++) {
        const int32_t first = group * c->inputs;
        conv_group(c, group, &from, in + first, zeros + first, residual, out, logits, scratch + (channels + 3) / 4);
    }
}
