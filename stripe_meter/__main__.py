"""`python -m stripe_meter`: the same command line as `stripe-meter`."""

from stripe_meter.cli import main

if __name__ == "__main__":
    main()
