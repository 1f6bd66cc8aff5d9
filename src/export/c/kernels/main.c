/* Reads inputs, one after another, from the standard input, and prints the logits of each in a line. */

#include "model.h"
#include <stdio.h>

static uint32_t arena[@UPPER@_ARENA_WORDS];

int main(void)
{
    static uint8_t pixels[@UPPER@_INPUT_BYTES];
    int32_t logits[@UPPER@_CLASSES];
    int i;
    while (fread(pixels, 1, sizeof pixels, stdin) == sizeof pixels) {
        @PREFIX@_run(pixels, logits, arena);
        for (i = 0; i < @UPPER@_CLASSES; i++) {
            printf(i ? " %ld" : "%ld", (long)logits[i]);
        }
        putchar('\n');
    }
    return ferror(stdin) ? 1 : 0;
}
