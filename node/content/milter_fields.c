/* A header that filters change: see milter_fields.h. */
#include "node/content/milter_fields.h"

#include "base/err.h"
#include "node/content/milter_packet.h"
#include "node/dkim/sign.h"

#include <errno.h>
#include <stdlib.h>

#define LINE_MAX_OCTETS 998u /* RFC 5322, section 2.1.1 */

static bool name_of(struct span text, struct span *name, struct span *value)
{
    const char *colon = memchr(text.p, ':', text.n);
    if (colon == NULL)
        return false;
    *name = span_trim(span_of(text.p, (size_t)(colon - text.p)));
    *value = span_sub(text, (size_t)(colon - text.p) + 1);
    value->n -= value->n > 0 && value->p[value->n - 1] == '\n';
    value->n -= value->n > 0 && value->p[value->n - 1] == '\r';
    return name->n > 0;
}

/* A place for one more, before the one that is there now. */
static struct milter_field *open_place(struct milter_fields *f, uint32_t at)
{
    if (f->n == f->cap) {
        uint32_t cap = f->cap == 0 ? 32 : f->cap * 2;
        struct milter_field *items = realloc(f->items, cap * sizeof *items);
        if (items == NULL)
            return NULL;
        f->items = items;
        f->cap = cap;
    }
    memmove(&f->items[at + 1], &f->items[at], (f->n - at) * sizeof *f->items);
    f->items[at] = (struct milter_field){ .own = NULL };
    f->n++;
    return &f->items[at];
}

int milter_fields_read(struct milter_fields *f, struct span header)
{
    struct span text, name, value;
    *f = (struct milter_fields){ .n = 0 };
    while (dkim_field_next(&header, &text)) {
        struct milter_field *field = open_place(f, f->n);
        if (field == NULL) {
            milter_fields_fini(f);
            return -ENOMEM;
        }
        field->text = text;
        field->hidden = !name_of(text, &name, &value) || name.n > MILTER_FIELD_NAME_MAX ||
                        (f->n == 1 && span_eq_nocase(name, SPAN_LIT("Received")));
    }
    return 0;
}

void milter_fields_fini(struct milter_fields *f)
{
    for (uint32_t i = 0; i < f->n; i++)
        free(f->items[i].own);
    free(f->items);
    *f = (struct milter_fields){ .n = 0 };
}

bool milter_fields_show(const struct milter_fields *f, uint32_t i, struct span *name, struct span *value)
{
    const struct milter_field *field = &f->items[i];
    return !field->hidden && !field->gone && name_of(field->text, name, value);
}

/* ---- what filters write -------------------------------------------------------------------------------- */

static bool name_ok(struct span name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] > '~' || name.p[i] == ':')
            return false;
    return name.n > 0 && name.n <= MILTER_FIELD_NAME_MAX;
}

static bool is_end(char c)
{
    return c == '\r' || c == '\n';
}

/* The value behind the colon: whatever is in it, it stays one field, and none of its lines is blank. */
static void put_value(struct buf *out, struct span value)
{
    bool line = true, ended = false; /* something stands in the line; its end came */
    while (value.n > 0 &&
           (is_end(value.p[value.n - 1]) || value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
        value.n--;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        bool blank = c == ' ' || c == '\t';
        if (is_end(c)) {
            ended = true;
            continue;
        }
        if (ended && line) {
            (void)buf_put_str(out, blank ? "\r\n" : "\r\n\t");
            line = false;
        }
        ended = false;
        line = line || !blank;
        (void)buf_put_char(out, (c >= 0 && c < ' ' && c != '\t') || c == 0x7f ? '?' : c);
    }
    (void)buf_put_str(out, "\r\n");
}

static bool lines_fit(struct span text)
{
    while (text.n > 0)
        if (span_cut(&text, '\n').n > LINE_MAX_OCTETS + 1)
            return false;
    return true;
}

/* A field's text in memory of its own. */
static int make(struct milter_fields *f, struct span name, struct span value, bool blank, struct span *out)
{
    struct buf text;
    if (!name_ok(name))
        return ERR_BAD;
    if (f->changes >= MILTER_CHANGES_MAX)
        return ERR_LIMIT;
    buf_init(&text, MILTER_CHANGED_BYTES - f->added);
    (void)buf_put_span(&text, name);
    (void)buf_put_str(&text, blank ? ":" : ": ");
    put_value(&text, value);
    int err = buf_err(&text);
    if (err == 0 && !lines_fit(buf_span(&text)))
        err = ERR_BAD;
    if (err != 0) {
        buf_fini(&text);
        return err;
    }
    *out = buf_span(&text); /* its memory goes to the field */
    return 0;
}

static void settle(struct milter_fields *f, struct milter_field *field, struct span text)
{
    free(field->own);
    field->own = (char *)(uintptr_t)text.p;
    field->text = text;
    field->gone = false;
    f->changes++;
    f->added += text.n;
    for (size_t i = 0; i < text.n && !f->eight_bit; i++)
        f->eight_bit = (unsigned char)text.p[i] >= 0x80;
}

int milter_fields_insert(struct milter_fields *f, uint32_t index, struct span name, struct span value,
                         bool blank)
{
    struct span text;
    int err = make(f, name, value, blank, &text);
    if (err != 0)
        return err;
    struct milter_field *field = open_place(f, index < f->n ? index : f->n);
    if (field == NULL) {
        free((char *)(uintptr_t)text.p);
        return -ENOMEM;
    }
    settle(f, field, text);
    return 0;
}

int milter_fields_add(struct milter_fields *f, struct span name, struct span value, bool blank)
{
    return milter_fields_insert(f, f->n, name, value, blank);
}

int milter_fields_change(struct milter_fields *f, uint32_t index, struct span name, struct span value,
                         bool blank)
{
    struct milter_field *field = NULL;
    struct span text, its_name, its_value;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < f->n && field == NULL; i++)
        if (!f->items[i].hidden && name_of(f->items[i].text, &its_name, &its_value) &&
            span_eq_nocase(its_name, name) && ++seen >= index)
            field = &f->items[i];
    if (value.n == 0) {
        if (f->changes >= MILTER_CHANGES_MAX)
            return ERR_LIMIT;
        f->changes++;
        if (field != NULL)
            field->gone = true;
        return 0;
    }
    if (field == NULL)
        return milter_fields_add(f, name, value, blank);
    int err = make(f, name, value, blank, &text);
    if (err == 0)
        settle(f, field, text);
    return err;
}

int milter_fields_put(const struct milter_fields *f, struct buf *out)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (!f->items[i].gone)
            (void)buf_put_span(out, f->items[i].text);
    return buf_put_str(out, "\r\n");
}
