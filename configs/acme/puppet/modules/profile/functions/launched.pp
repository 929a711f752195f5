# Whether this server lives in an environment, with peers, volumes and secrets. It does not while
# an image is baked.
function profile::launched() >> Boolean {
  $facts['hallmark_stage'] == 'launch'
}
