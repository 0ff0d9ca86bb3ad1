// Why an image is not to be had, and whose fault that is.

export interface ImageProblem {
  /**
   * `image_not_found`: no such image, or not for these credentials. `image_invalid`: an archive that is no image, or more than one: both the job's own
   * fault. `image_pull_failed`: this worker cannot get it; another may.
   */
  readonly code: "image_not_found" | "image_invalid" | "image_pull_failed";
  readonly message: string;
}

/** Carries a problem through code that fails by exception. */
export class ImageFailure extends Error {
  readonly problem: ImageProblem;

  constructor(code: ImageProblem["code"], message: string) {
    super(message);
    this.problem = { code, message };
  }
}
