/* The list of what is wrong with a configuration. */
#include "node/config/errors.h"

#include "base/ensure.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void config_errors_init(struct config_errors *e)
{
    memset(e, 0, sizeof *e);
}

void config_errors_fini(struct config_errors *e)
{
    for (uint32_t i = 0; i < e->n; i++)
        free(e->v[i].text);
    free(e->v);
    memset(e, 0, sizeof *e);
}

static void put(struct config_errors *e, bool warning, const char *file, uint32_t line, const char *key,
                const char *fmt, va_list ap)
{
    if (warning)
        e->warnings++;
    else
        e->errors++;
    if (e->n == CONFIG_ERRORS_MAX)
        return;
    char raw[1024];
    vsnprintf(raw, sizeof raw, fmt, ap);
    struct buf b;
    buf_init(&b, 16384);
    text_put_log(&b, span_str(file));
    if (line > 0)
        buf_printf(&b, ":%u", line);
    buf_put_str(&b, ": ");
    if (key != NULL)
        buf_printf(&b, "%s: ", key);
    text_put_log(&b, span_str(raw));
    buf_put_char(&b, '\0');
    struct config_error *v = realloc(e->v, (e->n + 1) * sizeof *v);
    ensure(buf_err(&b) == 0);
    ensure(v != NULL);
    e->v = v;
    v[e->n++] = (struct config_error){ .line = line, .warning = warning, .text = b.data };
}

void config_errors_add(struct config_errors *e, const char *file, uint32_t line, const char *key,
                       const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put(e, false, file, line, key, fmt, ap);
    va_end(ap);
}

void config_errors_warn(struct config_errors *e, const char *file, uint32_t line, const char *key,
                        const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put(e, true, file, line, key, fmt, ap);
    va_end(ap);
}

/* Insertion sort: stable, and the list is short. */
void config_errors_sort(struct config_errors *e)
{
    for (uint32_t i = 1; i < e->n; i++)
        for (uint32_t k = i; k > 0 && e->v[k].line < e->v[k - 1].line; k--) {
            struct config_error t = e->v[k];
            e->v[k] = e->v[k - 1];
            e->v[k - 1] = t;
        }
}
