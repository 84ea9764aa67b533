"""The porting desk: tools that read, judge and show schedules."""
