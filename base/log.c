/* The program's own log: a line on standard error, written with one write(2) so that threads don't mix. */
#include "base/log.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096

static atomic_int threshold = LOG_LEVEL_INFO;
static atomic_int journal;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

enum log_level log_level(void)
{
    return (enum log_level)atomic_load(&threshold);
}

void log_set_journal(int on)
{
    atomic_store(&journal, on);
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "error";
    case LOG_LEVEL_WARN:
        return "warning";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_DEBUG:
        return "debug";
    case LOG_LEVEL_TRACE:
        return "trace";
    }
    return "?";
}

static void put_prefix(struct buf *line, enum log_level level, const char *area)
{
    if (atomic_load(&journal)) {
        buf_printf(line, "<%d>%s: ", level < LOG_LEVEL_DEBUG ? (int)level : LOG_LEVEL_DEBUG, area);
        return;
    }
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    char stamp[32];
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(line, "%s.%03ldZ %s %s: ", stamp, now.tv_nsec / 1000000, level_name(level), area);
}

void log_line(enum log_level level, const char *area, const char *fmt, ...)
{
    if ((int)level > atomic_load(&threshold))
        return;
    char text[LINE_MAX_BYTES / 4];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    size_t len = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;

    struct buf line;
    buf_init(&line, 2 * LINE_MAX_BYTES);
    put_prefix(&line, level, area);
    text_put_log(&line, span_of(text, len));
    buf_put_char(&line, '\n');
    if (buf_err(&line) == 0) {
        ssize_t written = write(STDERR_FILENO, line.data, line.len);
        (void)written; /* nobody is left to tell */
    }
    buf_fini(&line);
}
