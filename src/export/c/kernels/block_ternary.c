    int32_t plane;
    for (plane = 0; plane < c->planes; plane++) {
        ternary_block(&from->codes, &from->scales, pairs, taps * c->tap_groups, c->quads, sums);
    }
