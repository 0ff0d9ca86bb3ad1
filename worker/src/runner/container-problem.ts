/** Whose fault it is when a container cannot be made or started. */
export type ContainerProblem = {
  readonly kind: "problem";
  readonly code: "start_failed" | "docker_error" | "isolation_failed";
  readonly message: string;
};
