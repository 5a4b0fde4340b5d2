/* A shorter schedule with the same fault: parts of it are left out, smaller and smaller ones, as long as the
 * fault stays (delta debugging; Zeller and Hildebrandt 2002). Each run is in a process of its own, so that it
 * may abort.
 */
#include "test/sim/sim.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static uint32_t runs;

/* Whether there was a fault; what it was is in the report. */
static bool faulty(const struct schedule *s, struct check_report *report)
{
    int status;
    *report = (struct check_report){ 0 };
    fflush(stdout);
    runs++;
    pid_t pid = fork();
    ensure(pid >= 0);
    if (pid == 0) {
        struct rlimit none = { 0 };
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        fclose(stderr);
        check_report = report;
        sim_run(s);
        _exit(check_faults > 0);
    }
    ensure(waitpid(pid, &status, 0) == pid);
    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status) != 0;
    snprintf(report->kind, sizeof report->kind, "ended by signal %d", WTERMSIG(status));
    memcpy(report->text, report->kind, sizeof report->kind);
    return true;
}

static void leave_out(const struct schedule *s, uint32_t from, uint32_t n, struct schedule *out)
{
    *out = *s;
    memmove(out->events + from, out->events + from + n, (s->n - from - n) * sizeof out->events[0]);
    out->n -= n;
}

/* One pass with parts of this size, from the end. True: something could go. */
static bool pass(struct schedule *s, uint32_t size, const char *kind, struct check_report *report)
{
    struct schedule *less = malloc(sizeof *less);
    bool any = false;
    ensure(less != NULL);
    for (uint32_t end = s->n; end > 0;) {
        uint32_t n = size < end ? size : end;
        leave_out(s, end - n, n, less);
        end -= n;
        if (!faulty(less, report) || strcmp(report->kind, kind) != 0)
            continue;
        *s = *less;
        any = true;
        fprintf(stderr, "%u events after %u runs\n", s->n, runs);
    }
    free(less);
    return any;
}

int shrink(const struct schedule *schedule)
{
    struct check_report *report =
        mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct schedule *s = malloc(sizeof *s);
    char kind[sizeof report->kind];
    ensure(report != MAP_FAILED);
    ensure(s != NULL);
    *s = *schedule;
    if (!faulty(s, report)) {
        printf("this schedule has no fault\n");
        free(s);
        return 1;
    }
    memcpy(kind, report->kind, sizeof kind);
    for (uint32_t size = (s->n + 1) / 2; size > 0;) {
        bool any = pass(s, size, kind, report);
        if (size == 1 && !any)
            break;
        size = size > 1 ? size / 2 : 1;
    }
    ensure(faulty(s, report));
    printf("# %s\n# %u of %u events are left, after %u runs\n", report->text, s->n, schedule->n, runs);
    schedule_print(s, stdout);
    free(s);
    munmap(report, sizeof *report);
    return 0;
}
