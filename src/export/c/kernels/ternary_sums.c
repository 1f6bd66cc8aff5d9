
/* The sums of four output channels at two positions, over all planes. */
static void ternary_sums(const struct conv *c, struct weights *from, const uint32_t *seen, int32_t *sums)
{
    const int32_t groups = groups_of(c);
    int32_t plane;
    sums[0] = sums[1] = sums[2] = sums[3] = 0;
    sums[SUMS] = sums[SUMS + 1] = sums[SUMS + 2] = sums[SUMS + 3] = 0;
    for (plane = 0; plane < c->planes; plane++) {
        ternary_block(c, from, seen, groups, sums);
    }
}
