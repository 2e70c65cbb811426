/** A provider by which people can log in (OpenID Connect). */
export interface LoginProvider {
  /** As people know it. */
  readonly name: string;
  /** Path at which a login begins. */
  readonly url: string;
}

/** The ways in which people can log in. */
export interface LoginOptions {
  /** Whether the secret of a client can be used. False while nobody has to say who they are. */
  readonly secret: boolean;
  readonly provider: LoginProvider | null;
}
