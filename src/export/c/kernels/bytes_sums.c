
/* The sums of four output channels at two positions. */
static void bytes_sums(const struct conv *c, struct weights *from, const uint32_t *seen, int32_t *sums)
{
    bytes_pair(from->bytes, seen, c->length, sums);
    bytes_pair(from->bytes + 2 * c->length, seen, c->length, sums + 2);
    from->bytes += 4 * c->length;
}
