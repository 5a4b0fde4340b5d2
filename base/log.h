/* The program's own log: one line per message on standard error (systemd's journal reads the <n> prefix).
 * What happens to mail goes to the event log (node/telemetry), not here. Control characters and bytes that
 * are not UTF-8 are escaped, so a peer cannot forge a line. Any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

/* By syslog's numbers. Trace is what libraries say of their inner life: journals have no level below debug. */
enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7, LOG_LEVEL_TRACE };

/* Before other threads start, or from the main thread on reload. */
void log_set_level(enum log_level level);
enum log_level log_level(void);
/* Prefix each line with the syslog priority, as sd-daemon(3) describes. */
void log_set_journal(int on);

void log_line(enum log_level level, const char *area, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define log_error(area, ...) log_line(LOG_LEVEL_ERROR, area, __VA_ARGS__)
#define log_warn(area, ...) log_line(LOG_LEVEL_WARN, area, __VA_ARGS__)
#define log_info(area, ...) log_line(LOG_LEVEL_INFO, area, __VA_ARGS__)
#define log_debug(area, ...) log_line(LOG_LEVEL_DEBUG, area, __VA_ARGS__)
#define log_trace(area, ...) log_line(LOG_LEVEL_TRACE, area, __VA_ARGS__)

#endif
