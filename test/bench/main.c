/* turnpike-bench: a load generator and a sink for SMTP servers. It measures any server, not only Turnpike;
 * and as it answers badly when told to, the tests use its sink too.
 */
#include "test/bench/send.h"

#include "base/hash.h"

#include <signal.h>
#include <sys/resource.h>

/* Thousands of connections need as many descriptors. */
static void raise_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = { { "send", send_main }, { "sink", sink_main }, { "idle", idle_main } };
    signal(SIGPIPE, SIG_IGN);
    raise_files();
    hash_seed();
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0);
    fputs(opts_help, help ? stdout : stderr);
    return help ? 0 : 2;
}
