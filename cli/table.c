/* Aligned columns. The last column is cut to the terminal's width, never to a pipe's. */
#include "cli/cli.h"

#include "base/ensure.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void cli_table_init(struct cli_table *t, const char *const *titles, int cols)
{
    *t = (struct cli_table){ .cols = cols };
    for (int i = 0; i < cols; i++)
        t->title[i] = titles[i];
}

void cli_table_row(struct cli_table *t)
{
    size_t cols = (size_t)t->cols;
    if (t->rows == t->cap) {
        size_t cap = t->cap == 0 ? 64 : t->cap * 2;
        char **cells = realloc(t->cells, cap * cols * sizeof(*cells));
        ensure(cells != NULL);
        t->cells = cells;
        enum cli_colour *colours = realloc(t->colours, cap * cols * sizeof(*colours));
        ensure(colours != NULL);
        t->colours = colours;
        t->cap = cap;
    }
    for (size_t i = 0; i < cols; i++) {
        t->cells[t->rows * cols + i] = NULL;
        t->colours[t->rows * cols + i] = CLI_PLAIN;
    }
    t->rows++;
}

void cli_table_set(struct cli_table *t, int col, enum cli_colour colour, const char *fmt, ...)
{
    char line[2048], safe[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    cli_safe(line, safe, sizeof(safe));
    size_t at = (t->rows - 1) * (size_t)t->cols + (size_t)col;
    free(t->cells[at]);
    t->cells[at] = strdup(safe);
    ensure(t->cells[at] != NULL);
    t->colours[at] = colour;
}

void cli_table_str(struct cli_table *t, int col, const json_t *row, const char *name)
{
    cli_table_set(t, col, CLI_PLAIN, "%s", cli_str(row, name));
}

void cli_table_opt(struct cli_table *t, int col, const json_t *row, const char *name)
{
    if (cli_str(row, name)[0] != '\0')
        cli_table_str(t, col, row, name);
}

void cli_table_int(struct cli_table *t, int col, const json_t *row, const char *name)
{
    cli_table_set(t, col, CLI_PLAIN, "%" PRId64, cli_int(row, name));
}

/* Characters, as near as it gets without a table of widths. */
static int width_of(const char *s)
{
    int n = 0;
    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* Bytes of the first n characters. */
static int bytes_of(const char *s, int n)
{
    const char *p = s;
    for (; *p != '\0'; p++)
        if (((unsigned char)*p & 0xc0) != 0x80 && n-- == 0)
            break;
    return (int)(p - s);
}

static void print_row(const struct cli *c, const struct cli_table *t, char *const *cells,
                      const enum cli_colour *colours, const int *width)
{
    int used = 0;
    for (int i = 0; i < t->cols; i++) {
        bool right = t->title[i][0] == '>', last = i == t->cols - 1;
        const char *s = cells[i] != NULL ? cells[i] : "-";
        int w = width_of(s), pad = width[i] - w;
        int shown =
            last && c->width > 0 && used + w > c->width && c->width - used > 8 ? c->width - used - 1 : w;
        enum cli_colour colour = colours != NULL ? colours[i] : CLI_BOLD;
        printf("%*s%s%.*s%s%s", right ? pad : 0, "", colour != CLI_PLAIN ? cli_sgr(c, colour) : "",
               bytes_of(s, shown), s, shown < w ? "~" : "", colour != CLI_PLAIN ? cli_sgr(c, CLI_PLAIN) : "");
        if (!last)
            printf("%*s  ", right ? 0 : pad, "");
        used += width[i] + 2;
    }
    putchar('\n');
}

void cli_table_print(const struct cli *c, const struct cli_table *t)
{
    int width[CLI_COLS_MAX];
    char *titles[CLI_COLS_MAX];
    for (int i = 0; i < t->cols; i++) {
        titles[i] = (char *)(uintptr_t)(t->title[i] + (t->title[i][0] == '>'));
        width[i] = width_of(titles[i]);
        for (size_t r = 0; r < t->rows; r++) {
            const char *s = t->cells[r * (size_t)t->cols + (size_t)i];
            int w = s != NULL ? width_of(s) : 1;
            width[i] = w > width[i] ? w : width[i];
        }
    }
    print_row(c, t, titles, NULL, width);
    for (size_t r = 0; r < t->rows; r++)
        print_row(c, t, &t->cells[r * (size_t)t->cols], &t->colours[r * (size_t)t->cols], width);
}

void cli_table_fini(struct cli_table *t)
{
    for (size_t i = 0; i < t->rows * (size_t)t->cols; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t->colours);
}

void cli_table_end(const struct cli *c, struct cli_table *t)
{
    cli_table_print(c, t);
    cli_table_fini(t);
}
