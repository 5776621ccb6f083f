/* llama2c.c - times llama2.c, whose own clock counts milliseconds, which are too long for its smallest models.
 *
 *   llama2c CHECKPOINT TOKENS REPETITIONS
 *
 * Compile with -I of a checkout. Makes TOKENS tokens from the begin token, each the likeliest, and prints the
 * tokens per second of each repetition, after one that is not counted.
 */
#define TESTING /* leaves out its main */
#include "run.c"

int main(int argc, char **argv) {
    if (argc != 4) {
        return 2;
    }
    const int tokens = atoi(argv[2]), repetitions = atoi(argv[3]);
    Transformer model;
    Sampler sampler;
    build_transformer(&model, argv[1]);
    build_sampler(&sampler, model.config.vocab_size, 0.0f, 0.9f, 1);
    for (int r = 0; r <= repetitions; r++) {
        struct timespec start, end;
        int token = 1;
        clock_gettime(CLOCK_MONOTONIC, &start);
        for (int pos = 0; pos < tokens; pos++) {
            token = sample(&sampler, forward(&model, token, pos));
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        if (r > 0) {
            printf("%.6g\n", tokens / ((double)(end.tv_sec - start.tv_sec) +
                                       (double)(end.tv_nsec - start.tv_nsec) * 1e-9));
        }
    }
    free_sampler(&sampler);
    free_transformer(&model);
    return 0;
}
